/** A terminal's screen as cells: what the escape sequences of common programs do to it. */

const PLAIN = Object.freeze({ fore: -1, back: -1, marks: "" });
const MOST_LINES = 1_000;
const ENDS = /[@-~]/;

export class Screen {
  constructor(rows, columns) {
    this.rows = rows;
    this.columns = columns;
    this.reset();
  }

  reset() {
    this.lines = Array.from({ length: this.rows }, () => []);
    this.past = [];
    this.row = this.column = 0;
    this.style = PLAIN;
    this.top = 0;
    this.bottom = this.rows - 1;
    this.other = null;
    this.pending = "";
    this.isCursorShown = true;
    this.isPasteMarked = false;
    this.hasKeypad = false;
    this.wraps = false;
    this.scrolled = 0;
  }

  /** Another size; what is there stays at the bottom. */
  resize(rows, columns) {
    while (this.lines.length > rows) {
      if (this.row < this.lines.length - 1) this.lines.pop();
      else {
        this.#keep(this.lines.shift());
        this.row -= 1;
      }
    }
    while (this.lines.length < rows) this.lines.push([]);
    Object.assign(this, { rows, columns, top: 0, bottom: rows - 1 });
    this.row = Math.min(this.row, rows - 1);
    this.column = Math.min(this.column, columns - 1);
  }

  /** Take output; a sequence that is cut off waits for its rest. */
  write(text) {
    const all = this.pending + text;
    this.pending = "";
    let index = 0;
    while (index < all.length) {
      const character = String.fromCodePoint(all.codePointAt(index));
      if (character === "\x1b") {
        const used = this.#escape(all, index);
        if (!used) {
          // More than a sequence can be is no sequence.
          if (all.length - index < 4_096) this.pending = all.slice(index);
          return;
        }
        index += used;
        continue;
      }
      index += character.length;
      if (character < " " || character === "\x7f") this.#control(character);
      else this.#put(character);
    }
  }

  #put(character) {
    if (this.wraps) {
      this.column = 0;
      this.#feed();
    }
    const line = this.lines[this.row];
    while (line.length < this.column) line.push([" ", PLAIN]);
    line[this.column] = [character, this.style];
    this.wraps = this.column >= this.columns - 1;
    if (!this.wraps) this.column += 1;
  }

  #control(character) {
    this.wraps = false;
    if (character === "\n" || character === "\v" || character === "\f") this.#feed();
    else if (character === "\r") this.column = 0;
    else if (character === "\b") this.column = Math.max(0, this.column - 1);
    else if (character === "\t") this.column = Math.min(this.columns - 1, (this.column | 7) + 1);
  }

  #feed() {
    this.wraps = false;
    if (this.row === this.bottom) this.#scroll(1);
    else if (this.row < this.rows - 1) this.row += 1;
  }

  #scroll(by) {
    for (let turn = 0; turn < Math.abs(by); turn += 1) {
      if (by > 0) {
        const gone = this.lines.splice(this.top, 1)[0];
        if (this.top === 0 && !this.other) this.#keep(gone);
        this.lines.splice(this.bottom, 0, []);
      } else {
        this.lines.splice(this.bottom, 1);
        this.lines.splice(this.top, 0, []);
      }
    }
  }

  #keep(line) {
    this.past.push(line);
    this.scrolled += 1;
    if (this.past.length > MOST_LINES) this.past.shift();
  }

  /** Follow an escape sequence; returns its length, 0 when its end is not there yet. */
  #escape(all, start) {
    const kind = all[start + 1];
    if (kind === undefined) return 0;
    if (kind === "[") {
      let end = start + 2;
      while (end < all.length && !ENDS.test(all[end])) end += 1;
      if (end >= all.length) return 0;
      this.#sequence(all.slice(start + 2, end), all[end]);
      return end + 1 - start;
    }
    if ("]PX^_".includes(kind)) {
      // Titles, links and the like: read to their end and left alone.
      const found = /\x07|\x1b\\/.exec(all.slice(start + 2));
      return found ? 2 + found.index + found[0].length : 0;
    }
    if ("()*+#%".includes(kind)) return all[start + 2] === undefined ? 0 : 3;
    this.wraps = false;
    if (kind === "7") this.saved = [this.row, this.column, this.style];
    else if (kind === "8" && this.saved) [this.row, this.column, this.style] = this.saved;
    else if (kind === "D") this.#feed();
    else if (kind === "E") {
      this.column = 0;
      this.#feed();
    } else if (kind === "M") {
      if (this.row === this.top) this.#scroll(-1);
      else this.row = Math.max(0, this.row - 1);
    } else if (kind === "c") this.reset();
    else if (kind === "=") this.hasKeypad = true;
    else if (kind === ">") this.hasKeypad = false;
    return 2;
  }

  #sequence(given, end) {
    const isPrivate = given.startsWith("?");
    const numbers = given.replace(/^[?>=!]/, "").split(/[;:]/).map((part) => Math.min(9_999, Number(part) || 0));
    const many = Math.max(1, numbers[0]);
    if (end === "m") return isPrivate || /^[>=]/.test(given) ? undefined : this.#style(numbers);
    if ((end === "h" || end === "l") && isPrivate) return numbers.forEach((n) => this.#mode(n, end === "h"));
    this.wraps = false;
    const line = this.lines[this.row];
    const blanks = (count) => Array.from({ length: count }, () => [" ", PLAIN]);
    switch (end) {
      case "A": this.row = Math.max(0, this.row - many); break;
      case "B": case "e": this.row = Math.min(this.rows - 1, this.row + many); break;
      case "C": case "a": this.column = Math.min(this.columns - 1, this.column + many); break;
      case "D": this.column = Math.max(0, this.column - many); break;
      case "E": this.row = Math.min(this.rows - 1, this.row + many); this.column = 0; break;
      case "F": this.row = Math.max(0, this.row - many); this.column = 0; break;
      case "G": case "`": this.column = Math.min(this.columns, many) - 1; break;
      case "d": this.row = Math.min(this.rows, many) - 1; break;
      case "H": case "f":
        this.row = Math.min(this.rows, many) - 1;
        this.column = Math.min(this.columns, Math.max(1, numbers[1] ?? 1)) - 1;
        break;
      case "J": this.#eraseScreen(numbers[0]); break;
      case "K": this.#eraseLine(numbers[0]); break;
      case "P": line.splice(this.column, many); break;
      case "@":
        while (line.length < this.column) line.push([" ", PLAIN]);
        line.splice(this.column, 0, ...blanks(Math.min(many, this.columns)));
        line.length = Math.min(line.length, this.columns);
        break;
      case "X":
        for (let n = this.column; n < Math.min(line.length, this.column + many); n += 1) line[n] = [" ", PLAIN];
        break;
      case "L": case "M": this.#shiftLines(end === "L" ? -1 : 1, many); break;
      case "S": this.#scroll(Math.min(many, this.rows)); break;
      case "T": this.#scroll(-Math.min(many, this.rows)); break;
      case "r":
        this.top = Math.min(this.rows, many) - 1;
        this.bottom = Math.min(this.rows, numbers[1] || this.rows) - 1;
        if (this.top >= this.bottom) [this.top, this.bottom] = [0, this.rows - 1];
        this.row = this.column = 0;
        break;
      case "s": this.saved = [this.row, this.column, this.style]; break;
      case "u": if (this.saved) [this.row, this.column, this.style] = this.saved; break;
      default:
    }
    return undefined;
  }

  #shiftLines(by, many) {
    if (this.row < this.top || this.row > this.bottom) return;
    for (let turn = 0; turn < Math.min(many, this.rows); turn += 1) {
      this.lines.splice(by > 0 ? this.row : this.bottom, 1);
      this.lines.splice(by > 0 ? this.bottom : this.row, 0, []);
    }
  }

  #eraseLine(how) {
    const line = this.lines[this.row];
    if (how === 0) line.length = Math.min(line.length, this.column);
    else if (how === 2) line.length = 0;
    else for (let n = 0; n <= this.column && n < line.length; n += 1) line[n] = [" ", PLAIN];
  }

  #eraseScreen(how) {
    if (how === 3) this.past = [];
    if (how === 0 || how === 1) this.#eraseLine(how);
    this.lines.forEach((line, index) => {
      if (how === 2 || (how === 0 && index > this.row) || (how === 1 && index < this.row)) line.length = 0;
    });
  }

  #mode(number, isOn) {
    if (number === 25) this.isCursorShown = isOn;
    else if (number === 1) this.hasKeypad = isOn;
    else if (number === 2004) this.isPasteMarked = isOn;
    else if ((number === 1049 || number === 47 || number === 1047) && isOn !== Boolean(this.other)) {
      if (isOn) {
        this.other = { lines: this.lines, row: this.row, column: this.column };
        this.lines = Array.from({ length: this.rows }, () => []);
      } else {
        Object.assign(this, this.other);
        this.other = null;
        this.resize(this.rows, this.columns);
      }
    }
  }

  #style(numbers) {
    const marks = new Set(this.style.marks.split(" ").filter(Boolean));
    let { fore, back } = this.style;
    const named = { 1: "bold", 2: "faint", 3: "italic", 4: "under", 7: "inverse", 9: "struck" };
    for (let index = 0; index < numbers.length; index += 1) {
      const n = numbers[index];
      if (n === 0) {
        marks.clear();
        fore = back = -1;
      } else if (named[n]) marks.add(named[n]);
      else if (n === 22) ["bold", "faint"].forEach((mark) => marks.delete(mark));
      else if (n > 22 && n < 30) marks.delete(named[n - 20]);
      else if (n === 38 || n === 48) {
        const isTrue = numbers[index + 1] === 2;
        const colour = isTrue ? cube(numbers.slice(index + 2, index + 5)) : (numbers[index + 2] ?? 0) & 255;
        if (n === 38) fore = colour;
        else back = colour;
        index += isTrue ? 4 : 2;
      } else if (n >= 30 && n <= 37) fore = n - 30;
      else if (n === 39) fore = -1;
      else if (n >= 40 && n <= 47) back = n - 40;
      else if (n === 49) back = -1;
      else if (n >= 90 && n <= 97) fore = n - 82;
      else if (n >= 100 && n <= 107) back = n - 92;
    }
    this.style = Object.freeze({ fore, back, marks: [...marks].join(" ") });
  }
}

/** The nearest of the 216 colours of the 256. */
function cube([red = 0, green = 0, blue = 0]) {
  const step = (value) => Math.round((Math.min(255, value) / 255) * 5);
  return 16 + 36 * step(red) + 6 * step(green) + step(blue);
}
