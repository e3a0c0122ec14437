(() => {
  const data = JSON.parse(document.getElementById('rows').textContent)
  const STEP = 200
  const MARKS = { y: '●', n: '✕', '-': '○' }
  const SAID = { y: 'compiled', n: 'refused', '-': 'not tried' }
  const $ = id => document.getElementById(id)
  const body = $('table').tBodies[0]
  const fields = ['search', 'set', 'status', 'family', 'rule', 'dtype', 'target']
  data.rows.forEach((row, place) => { row.place = place })
  let order = { key: 'op', down: false }
  let found = []
  let drawn = 0

  function make(tag, text, name) {
    const one = document.createElement(tag)
    if (text !== undefined) one.textContent = text
    if (name) one.className = name
    return one
  }

  function fits(row) {
    const text = $('search').value.trim().toLowerCase()
    const [set, status, family, rule, dtype, target] = fields.slice(1).map(name => $(name).value)
    return (!text || row.op.toLowerCase().includes(text)) && (!set || row.paper) &&
      (!status || row.status === status) && (!family || row.family === family) &&
      (!rule || (rule === '(hand-written)' ? row.hand : row.rules.includes(rule))) &&
      (dtype === '' || row.tests[dtype][0] < row.tests[dtype][1]) &&
      (target === '' || row.built.some(letters => letters[target] === 'n'))
  }

  function compare(one, other) {
    const [a, b] = [one[order.key] ?? Infinity, other[order.key] ?? Infinity]
    const way = a < b ? -1 : a > b ? 1 : one.op < other.op ? -1 : 1
    return order.down ? -way : way
  }

  function cell(row, place) {
    const [passed, total] = row.tests[place]
    const one = make('td', total ? `${passed}/${total}` : '', passed < total ? 'wrong' : '')
    if (!total && /^-*$/.test(row.built[place])) return one
    const marks = make('span', undefined, 'marks')
    data.targets.forEach((target, at) => {
      const letter = row.built[place][at]
      const mark = make('span', MARKS[letter], letter)
      mark.title = `${target}: ${SAID[letter]}`
      marks.append(mark)
    })
    one.append(marks)
    return one
  }

  function line(row) {
    const one = make('tr')
    const link = make('a', row.op)
    link.href = `#op=${encodeURIComponent(row.op)}`
    const name = make('td')
    name.append(link)
    const chip = make('td', undefined, 'chip')
    chip.append(make('i', undefined, `s-${row.status}`), data.words[row.status])
    one.append(name, make('td', row.family), chip, make('td', `${row.passed}/${row.total}`))
    data.dtypes.forEach((_, place) => one.append(cell(row, place)))
    one.append(make('td', row.calls ?? ''))
    return one
  }

  function more() {
    body.append(...found.slice(drawn, drawn + STEP).map(line))
    drawn = Math.min(drawn + STEP, found.length)
    $('more').hidden = drawn >= found.length
  }

  function refresh() {
    found = data.rows.filter(fits).sort(compare)
    drawn = 0
    body.replaceChildren()
    $('shown').textContent = `${found.length} of ${data.rows.length} operators`
    more()
  }

  async function unpacked(place) {
    const bytes = Uint8Array.from(atob($(`detail-${place}`).textContent), c => c.charCodeAt(0))
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
    return JSON.parse(await new Response(stream).text())
  }

  function facts(values) {
    const list = make('dl')
    for (const [name, said] of Object.entries(values)) {
      list.append(make('dt', name), make('dd', said))
    }
    return list
  }

  function matrix(row, built) {
    const table = make('table')
    const head = make('tr')
    head.append(make('th', 'type'), make('th', 'tests'))
    data.targets.forEach(target => head.append(make('th', target)))
    table.append(head)
    data.dtypes.forEach((dtype, place) => {
      const one = make('tr')
      const [passed, total] = row.tests[place]
      one.append(make('td', dtype), make('td', total ? `${passed}/${total}` : 'no tests'))
      data.targets.forEach(target => {
        const letter = { true: 'y', false: 'n' }[built[dtype]?.[target]] ?? '-'
        one.append(make('td', `${MARKS[letter]} ${SAID[letter]}`, letter === 'n' ? 'wrong' : ''))
      })
      table.append(one)
    })
    return table
  }

  function timeline(events) {
    const list = make('ol', undefined, 'events')
    for (const event of events) {
      const at = event.at_s === null ? '' : `${event.at_s.toFixed(2)} s `
      const call = event.call_no === null ? '' : ` (call ${event.call_no})`
      const one = make('li', at)
      one.append(make('b', event.state), `${call} ${event.detail}`)
      list.append(one)
    }
    return list
  }

  function difference(lines) {
    const text = make('pre')
    for (const one of lines) {
      const name = one[0] === '+' ? 'a' : one[0] === '-' ? 'c' : ''
      text.append(make('span', one, name), '\n')
    }
    return text
  }

  function attempt(one, number) {
    const part = make('details')
    const said = one.verdict || (one.packet_kind ? `feedback: ${one.packet_kind}` : '')
    part.append(make('summary', `Call ${one.call_no}: ${said} · ${one.sha.slice(0, 12)}`))
    if (one.policy) part.append(make('p', one.policy, 'muted'))
    if (one.packet_text) part.append(make('pre', one.packet_text))
    if (number) {
      part.append(make('p', one.diff.length ? 'Changed from the attempt before:'
        : 'The same text as the attempt before.', 'muted'))
      if (one.diff.length) part.append(difference(one.diff))
    }
    return part
  }

  function heat(map) {
    const space = 'http://www.w3.org/2000/svg'
    const drawing = document.createElementNS(space, 'svg')
    drawing.setAttribute('viewBox', `0 0 ${map.columns} ${map.rows}`)
    drawing.setAttribute('class', 'heat')
    const side = Math.max(4, Math.min(24, 440 / Math.max(map.columns, map.rows)))
    drawing.setAttribute('width', map.columns * side)
    drawing.setAttribute('height', map.rows * side)
    const most = Math.max(...map.cells.map(one => one[2]))
    for (const [row, column, count] of map.cells) {
      const spot = document.createElementNS(space, 'rect')
      const sizes = { x: column, y: row, width: 1, height: 1, opacity: 0.35 + 0.65 * count / most }
      for (const [name, value] of Object.entries(sizes)) spot.setAttribute(name, value)
      drawing.append(spot)
    }
    return drawing
  }

  function failure(one, map) {
    const part = make('div')
    part.append(make('h3', `First failure: ${one.status} in ${one.dtype}`),
      make('p', `sample ${one.sample_id}`, 'muted'), make('pre', one.message))
    if (map) {
      const known = map.known < map.wrong ? `the first ${map.known} of ` : ''
      part.append(make('p', `Where a result of shape [${map.shape.join(', ')}] is wrong: ${known}` +
        `${map.wrong} elements; the last dimension runs to the right.`, 'muted'), heat(map))
    }
    const all = make('details')
    all.append(make('summary', 'All facts'), make('pre', JSON.stringify(one.machine, null, 1)))
    part.append(all)
    return part
  }

  async function open(name) {
    const row = data.rows.find(one => one.op === name)
    if (!row) return
    const place = $('detail-body')
    $('detail-title').textContent = `${row.op} · ${data.words[row.status]}`
    place.replaceChildren(make('p', 'Unpacking …', 'muted'))
    if (!$('detail').open) $('detail').showModal()
    if (typeof DecompressionStream === 'undefined') {
      place.replaceChildren(make('p', 'Opening an operator needs a browser of 2023 or later.'))
      return
    }
    const detail = await unpacked(row.place)
    place.replaceChildren(facts(detail.facts), matrix(row, detail.matrix))
    if (detail.failure) place.append(failure(detail.failure, detail.heat))
    if (detail.events.length) place.append(make('h3', 'Session'), timeline(detail.events))
    if (detail.attempts.length) place.append(make('h3', 'Attempts'), ...detail.attempts.map(attempt))
    if (detail.source !== null) {
      place.append(make('h3', 'Source'), make('pre', detail.source, 'source'))
    } else place.append(make('p', 'No source: nothing was proposed.', 'muted'))
    $('detail').dataset.shown = row.op
  }

  function follow() {
    const [key, value] = decodeURIComponent(location.hash.slice(1)).split(/=(.*)/s)
    if (key === 'op') open(value)
    else if (key === 'rule') {
      $('rule').value = value
      refresh()
      $('filters').scrollIntoView()
    } else if ($('detail').open) $('detail').close()
  }

  $('detail').addEventListener('close', () => {
    delete $('detail').dataset.shown
    if (location.hash.startsWith('#op=')) history.replaceState(null, '', location.pathname)
  })
  $('filters').addEventListener('input', refresh)
  $('filters').addEventListener('submit', event => event.preventDefault())
  $('filters').addEventListener('reset', () => setTimeout(refresh))
  $('more').addEventListener('click', more)
  for (const button of document.querySelectorAll('th button')) {
    button.addEventListener('click', () => {
      const key = button.dataset.sort
      order = { key, down: order.key === key && !order.down }
      refresh()
    })
  }
  addEventListener('hashchange', follow)
  refresh()
  follow()
})()
