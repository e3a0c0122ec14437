"""The script that unpacks in the browser what the page carries packed."""

SCRIPT = """
const unpack = async id => {
  const raw = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};
const drawCharts = async () => {
  const script = document.createElement("script");
  script.text = await unpack("packed-plotly");
  document.head.appendChild(script);
  const charts = JSON.parse(await unpack("packed-charts"));
  for (const [id, chart] of Object.entries(charts))
    Plotly.newPlot(id, chart.data, chart.layout, {displayModeBar: false, responsive: true});
};
const MOST_ROWS = 100;
const COLUMNS = ["task", "host", "domain", "service", "type", "release", "reason", "detail"];
const summed = steps => { let at = 0; return steps.map(step => at += step); };
const decoded = table => {
  const found = {};
  for (const name of COLUMNS.filter(name => table[name]))
    found[name] = {codes: summed(table[name].steps), values: table[name].values};
  return found;
};
const refusedTable = table => {
  const columns = decoded(table);
  const cell = (name, row) => columns[name].values[columns[name].codes[row]];
  return {columns, cell, size: columns.task.codes.length};
};
const placedTable = table => {
  const columns = decoded(table), size = columns.task.codes.length;
  columns.reason = {codes: new Array(size).fill(0), values: ["placed"]};
  const detail = row => {
    const start = new Date((table.plan_s + 60 * table.start_min[row]) * 1000).toISOString();
    const wave = table.wave[row] < 0 ? "no wave" : `wave ${table.wave[row]}`;
    return `placed ${start.slice(0, 16).replace("T", " ")}, lane ${table.lane[row]}, ${wave}`;
  };
  const cell = (name, row) =>
    name === "detail" ? detail(row) : columns[name].values[columns[name].codes[row]];
  return {columns, cell, size};
};
// A word is looked up once per distinct value, not once per row.
const rowsWith = (words, table) => {
  const hits = words.map(word => Object.values(table.columns).map(column => {
    return [column.codes, column.values.map(value => value.toLowerCase().includes(word))];
  }));
  const rows = [];
  for (let row = 0; row < table.size; row++)
    if (hits.every(hit => hit.some(([codes, own]) => own[codes[row]]))) rows.push(row);
  return rows;
};
const counted = (found, shown) => {
  const tasks = found === 1 ? "1 task" : `${found.toLocaleString("en")} tasks`;
  return `${tasks} found` + (found > shown ? `, the first ${shown} shown` : "");
};
const search = async () => {
  const tables = [
    refusedTable(JSON.parse(await unpack("packed-refusals"))),
    placedTable(JSON.parse(await unpack("packed-placed"))),
  ];
  const field = document.getElementById("search"), body = document.getElementById("found");
  const show = () => {
    const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const lines = [];
    let found = 0;
    for (const table of tables) {
      const rows = rowsWith(words, table);
      found += rows.length;
      for (const row of rows.slice(0, MOST_ROWS - lines.length))
        lines.push(COLUMNS.map(name => table.cell(name, row)));
    }
    body.replaceChildren(...lines.map(cells => {
      const line = document.createElement("tr");
      cells.forEach((text, place) => {
        const cell = document.createElement("td");
        cell.className = COLUMNS[place] === "detail" ? "word long" : "word";
        cell.textContent = text;
        line.appendChild(cell);
      });
      return line;
    }));
    document.getElementById("count").textContent = counted(found, lines.length);
  };
  field.addEventListener("input", show);
  show();
};
const failed = error => {
  document.getElementById("failed").textContent =
    `This browser cannot unpack the charts (${error}); use one from 2023 or later.`;
};
drawCharts().catch(failed);
search().catch(failed);
"""
