/** A long list of which only what can be seen is in the page. */

const AROUND_PX = 500;
const SLACK_PX = 30;

export class VirtualList {
  /**
   * @param {HTMLElement} scroller Scrolls; becomes the list's place.
   * @param {Object} how `render(item)` makes a row; `estimate` is a row's height before it was
   *   measured, in pixels; `sticks` keeps the end in sight while the list grows.
   *   An item has a `key` and a `version`; a row is made anew when its version changes.
   */
  constructor(scroller, { render, estimate, sticks = false, onPaint = () => {} }) {
    Object.assign(this, { scroller, render, estimate, sticks, onPaint });
    this.items = [];
    this.heights = new Map();
    this.offsets = new Float64Array(1);
    this.rows = new Map();
    this.isPinned = sticks;
    this.isAsked = false;
    this.lastTop = 0;
    this.spacer = document.createElement("div");
    this.spacer.className = "spacer";
    this.spacer.setAttribute("role", "presentation");
    scroller.append(this.spacer);
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.observer = new ResizeObserver(() => this.ask());
    this.observer.observe(scroller);
  }

  /** Show other items, or the same ones changed. */
  show(items) {
    this.items = items;
    this.ask();
  }

  /** Begin anew: another list in the same place. */
  clear() {
    this.heights.clear();
    for (const key of [...this.rows.keys()]) this.#drop(key);
    this.items = [];
    this.scroller.scrollTop = this.lastTop = 0;
    this.isPinned = this.sticks;
    this.ask();
  }

  /** Paint with the next frame. */
  ask() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.paint();
    });
  }

  /** Bring an item to the middle. */
  reveal(index) {
    this.isPinned = false;
    // Twice: rows on the way were only estimated before they are measured.
    for (let turn = 0; turn < 2; turn += 1) {
      this.#place();
      const middle = this.offsets[index] - this.scroller.clientHeight / 3;
      this.scroller.scrollTop = this.lastTop = Math.max(0, middle);
      this.paint();
    }
  }

  /** Go to the end and stay there. */
  toEnd() {
    this.isPinned = this.sticks;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.ask();
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    if (this.sticks) {
      // What grows below is no scrolling away: only going up is.
      if (scrollTop < this.lastTop - 1) this.isPinned = false;
      if (scrollTop + clientHeight >= scrollHeight - SLACK_PX) this.isPinned = true;
    }
    this.lastTop = scrollTop;
    this.ask();
  }

  #place() {
    const count = this.items.length;
    if (this.offsets.length <= count) this.offsets = new Float64Array(count * 2 + 1);
    let top = 0;
    for (let index = 0; index < count; index += 1) {
      this.offsets[index] = top;
      top += this.heights.get(this.items[index].key) ?? this.estimate;
    }
    this.offsets[count] = top;
    this.spacer.style.height = `${top}px`;
  }

  /** The index of the item at a height. */
  indexAt(top) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= top) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  paint() {
    if (!this.scroller.clientHeight) return;
    for (let turn = 0; turn < 4; turn += 1) {
      this.#place();
      if (this.isPinned) this.#moveTo(this.scroller.scrollHeight);
      const first = this.indexAt(this.scroller.scrollTop);
      const inside = this.scroller.scrollTop - (this.offsets[first] ?? 0);
      this.#fill();
      if (!this.#measure()) break;
      this.#place();
      if (!this.isPinned && first < this.items.length) this.#moveTo(this.offsets[first] + inside);
    }
    if (this.isPinned) this.#moveTo(this.scroller.scrollHeight);
    this.onPaint(this);
  }

  #moveTo(top) {
    if (Math.abs(this.scroller.scrollTop - top) >= 1) this.scroller.scrollTop = top;
    this.lastTop = this.scroller.scrollTop;
  }

  #fill() {
    const top = this.scroller.scrollTop;
    const begin = this.indexAt(Math.max(0, top - AROUND_PX));
    const bottom = top + this.scroller.clientHeight + AROUND_PX;
    const wanted = new Set();
    let before = null;
    for (let index = begin; index < this.items.length && this.offsets[index] < bottom; index += 1) {
      const item = this.items[index];
      wanted.add(item.key);
      const row = this.#row(item);
      row.style.transform = `translateY(${this.offsets[index]}px)`;
      row.setAttribute("aria-posinset", index + 1);
      row.setAttribute("aria-setsize", this.items.length);
      // In order, so that a keyboard and a screen reader walk through them in order.
      const next = before ? before.nextSibling : this.spacer.firstChild;
      if (row !== next) this.spacer.insertBefore(row, next);
      before = row;
    }
    for (const [key, { row }] of this.rows) {
      if (!wanted.has(key) && !row.contains(document.activeElement)) this.#drop(key);
    }
  }

  #row(item) {
    const known = this.rows.get(item.key);
    if (known?.version === item.version) return known.row;
    const row = this.render(item);
    row.classList.add("row");
    if (known) {
      this.observer.unobserve(known.row);
      known.row.replaceWith(row);
    }
    this.rows.set(item.key, { row, version: item.version });
    this.observer.observe(row);
    return row;
  }

  #drop(key) {
    const { row } = this.rows.get(key);
    this.observer.unobserve(row);
    row.remove();
    this.rows.delete(key);
  }

  #measure() {
    let changed = false;
    for (const [key, { row }] of this.rows) {
      const height = row.offsetHeight;
      if (height && this.heights.get(key) !== height) {
        this.heights.set(key, height);
        changed = true;
      }
    }
    return changed;
  }
}
