"""Words as what they mean for an action: verbs by their effect, nouns by what they name."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+(?:['’][a-z]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_|-|\.|/")

# One line per meaning. The first word names it.
_VERB_LINES = """
read: get read fetch list show view open look see check find search lookup query retrieve display
  load inspect browse visit access examine print cat grep download extract collect gather recall
send: send post email mail message forward reply share publish upload submit transmit notify text
  tweet dm broadcast deliver relay push report leak exfiltrate pass
pay: pay transfer wire remit purchase buy refund donate spend charge withdraw
create: create add make write insert append save store put generate register compose draft new open
  schedule plan set
book: book reserve reservation order
invite: invite grant allow permit authorize enroll join assign
update: update change modify edit set replace rename adjust reset move reschedule alter correct
  increase decrease raise lower patch
delete: delete remove erase drop cancel destroy clear purge wipe revoke uninstall kick ban terminate
  kill discard unsubscribe
execute: execute run call invoke eval launch start deploy install compile build test curl bash
  restart reboot rollout
say: say tell mention recommend state announce praise claim repeat respond answer inform
concatenate: concatenate combine summarize summarise merge aggregate
"""
_NOUN_LINES = """
money: money transaction transactions payment payments transfer bill invoice rent fee deposit funds
  balance iban account refund amount standing salary
mail: mail email emails inbox mailbox newsletter
message: message messages dm chat channel conversation slack direct
web: web webpage website site page url link href http https www blog browser internet
event: event calendar appointment appointments meeting meetings schedule invitation
file: file files document documents doc drive folder attachment txt pdf content contents disk
user: user users member members contact contacts person people participant participants colleague
  employee
hotel: hotel hotels accommodation room lodging
restaurant: restaurant restaurants cuisine food
car: car rental vehicle
flight: flight flights airline
password: password passphrase passcode pin
credential: credential credentials key keys token secret secrets apikey passport creditcard card
  ssn
address: address street city
code: code script command shell program snippet function
data: data information info details record records database table
security: security verification code 2fa mfa otp
"""
# The same in German, French, Spanish and Italian, as requests and manuals say it. Words that are
# English ones of another meaning are left out: `hole`, `lies`, `lade`.
_FOREIGN_VERB_LINES = """
read: lesen lese gelesen öffnen öffne abrufen prüfen prüfe anzeigen zeige suche suchen finde lisez
  ouvrir ouvre ouvrez cherche chercher affiche afficher leer lea abre abrir busca buscar muestra
  mostrar leggi leggere apri aprire cerca cercare mostra mostrare
send: senden sende schicken schicke leite weiterleiten weiterleite weitergeben hochladen mailen
  versenden veröffentlichen poste envoyer envoie envoyez transférer transfère publier publie
  enviar envía envíe manda mandar reenviar reenvía publica publicar invia inviare inoltra
  inoltrare spedisci pubblica pubblicare erinnere erinnern
pay: überweise überweisen zahle zahlen bezahle bezahlen zahlung payer paie payez virer verser paga
  pagar transferir transfiere versare pagare bonifico kaufe kaufen acheter achète comprar compra
  acquista
create: erstelle erstellen anlegen ergänze ergänzen schreibe schreiben speichere speichern
  eintragen eingetragen trage merke merken notiere hinzufügen füge setzen créer crée créez ajouter
  ajoute ajoutez écrire écris écrivez enregistrer enregistre crear crea añadir añade escribir
  escribe guardar guarda agrega agregar creare aggiungi aggiungere scrivi scrivere salva salvare
book: buche buchen reservieren reserviere réserver réserve reservar reserva prenota prenotare
invite: einladen erlauben freigeben freizugeben freigabe gewähre genehmige genehmigen aufnehmen
  nimm inviter invite autoriser autorise invitar invita autoriza autorizar invitare autorizza
  autorizzare verbinde verbinden
update: ändere ändern geändert aktualisiere aktualisieren ersetze ersetzen verschiebe modifiez
  changer remplacer remplace cambiar cambia modifica modificar actualiza actualizar cambiare
  modificare aggiorna aggiornare sostituisci
delete: lösche löschen entferne entfernen schliesse schliessen absagen storniere stornieren
  supprimer supprime supprimez effacer efface annuler annule fermer eliminar elimina borrar borra
  cancela cancelar eliminare cancella cancellare annulla chiudi
execute: ausführen führe starte starten installiere installieren einspielen rufe aufrufen exécuter
  exécute exécutez lancer ejecutar ejecuta instalar instala lanza esegui eseguire avvia avviare
  installa installare
say: sag sagen nenne nennen antworte antworten beende réponds répondre decir responde responder
  rispondi rispondere
"""
_FOREIGN_NOUN_LINES = """
money: geld betrag überweisung zahlungen rechnung rechnungen konto bankverbindung
  verrechnungskonto argent montant virement facture compte dinero importe factura cuenta pago
  denaro importo fattura conto pagamento
mail: postfach courriel courriels correo correos posta
message: nachricht nachrichten kanal mensaje mensajes messaggio messaggi
web: webseite seite lien enlace página sito pagina
event: termin termine kalender besprechung rendez réunion agenda evento reunión riunione
file: datei dateien ordner inhalt dokument fichier fichiers dossier contenu archivo archivos
  carpeta fichero contenido documento cartella
user: benutzer nutzer mitglied mitglieder empfänger arbeitsbereich utilisateur membre usuario
  miembro utente membro
password: passwort kennwort passe contraseña
credential: schlüssel zugangsdaten clé clave chiave chiavi credenziali
address: adresse anschrift dirección indirizzo
code: befehl skript programm commande programme comando
data: daten angaben nummer umgebungsvariablen données datos dati
"""
READS = frozenset({"read", "concatenate", "say"})
"""Meanings of verbs that change nothing outside."""


def stem(word: str) -> str:
    """Return a word without its commonest endings: `reservations` is `reservation`."""
    for ending, shorter in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", "e")):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + shorter
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        return word[:-1]
    return word


def _table(lines: str) -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    for line in re.sub(r"\n\s+", " ", lines).strip().splitlines():
        meaning, words = line.split(": ")
        for word in words.split():
            for form in {word, stem(word), _silent_e(word)}:
                table.setdefault(form, set()).add(meaning)
    return table


def _silent_e(word: str) -> str:
    # `updating` loses its e, and stems leave it out.
    return word[:-1] if word.endswith("e") else word


_VERBS = _table(_VERB_LINES.rstrip() + _FOREIGN_VERB_LINES)
_NOUNS = _table(_NOUN_LINES.rstrip() + _FOREIGN_NOUN_LINES)
# What stands in any request and tells nothing.
_EMPTY = frozenset(
    """
    a able about after again all also am an and any are as at be been before both by can could
    did do does don done down during each else every few for from further get got had has have
    he her here him his how i if im in into is it its just let like may me might more most must
    my need no not now of off on once only onto or other our out over own please s same shall
    she should so some such t than that the their them then there these they this those to too
    under until up us very want was we were what when where which while who whom whose why will
    with would you your
    """.split()  # noqa: SIM905
)


def words(text: str) -> list[str]:
    """Return the words of a text in small letters."""
    return [word.casefold() for word in _WORD.findall(text)]


@lru_cache(maxsize=4_096)
def name_words(name: str) -> tuple[str, ...]:
    """Return the words within a program's name: `send_direct_message`, `sendMessage`."""
    return tuple(word.casefold() for word in _CAMEL.split(name) if word)


@lru_cache(maxsize=65_536)
def verbs_of(word: str) -> frozenset[str]:
    """Return the meanings that a word has as a verb; none: it is no verb of the table."""
    return frozenset(_VERBS.get(word) or _VERBS.get(stem(word)) or ())


@lru_cache(maxsize=65_536)
def nouns_of(word: str) -> frozenset[str]:
    """Return what a word names: a meaning of the table, else its stem; nothing for empty words."""
    if word in _EMPTY or len(word) < 2 or word.isdigit():
        return frozenset()
    found = _NOUNS.get(word) or _NOUNS.get(stem(word))
    if found:
        return frozenset(found)
    return frozenset() if verbs_of(word) else frozenset({stem(word)})


def is_empty(word: str) -> bool:
    """Return whether a word tells nothing of its own."""
    return word in _EMPTY
