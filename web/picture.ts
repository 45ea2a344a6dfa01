/**
 * @file The cache as a picture: x = token, y = layer, or query group of one layer.
 */
import type { CacheHistory } from './history.ts';

/** The first tokens, which attention needs whatever they say. */
const SINKS = 4;

/** Where the pointer or the keys are. */
export interface Cell {
  /** A layer, or a query group. */
  readonly row: number;
  readonly position: number;
}

export class Picture {
  readonly canvas: HTMLCanvasElement;
  readonly #onSelect: (cell: Cell | null) => void;
  readonly #onZoom: (row: number) => void;
  #history: CacheHistory | null = null;
  /** Each row's scores by position, 0 … 1. */
  #scores: ReadonlyMap<number, ReadonlyMap<number, number>> = new Map();
  #cell: Cell | null = null;
  #isWaiting = false;

  /** @param onZoom a row was clicked twice. */
  constructor(label: string, onSelect: (cell: Cell | null) => void, onZoom: (row: number) => void) {
    this.#onSelect = onSelect;
    this.#onZoom = onZoom;
    const canvas = document.createElement('canvas');
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', label);
    canvas.addEventListener('pointermove', (event) => this.#point(event));
    canvas.addEventListener('pointerleave', () => this.#select(null));
    canvas.addEventListener('keydown', (event) => this.#key(event));
    canvas.addEventListener('dblclick', () => this.#cell && this.#onZoom(this.#cell.row));
    new ResizeObserver(() => this.draw()).observe(canvas);
    // A canvas keeps the colours that it was painted with.
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    this.canvas = canvas;
  }

  set history(history: CacheHistory | null) {
    this.#history = history;
    this.#cell = null;
    this.#scores = new Map();
    this.draw();
  }

  set scores(scores: ReadonlyMap<number, ReadonlyMap<number, number>>) {
    this.#scores = scores;
    this.draw();
  }

  /** Draws with the next frame, however often it is asked for. */
  draw(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    requestAnimationFrame(() => {
      this.#isWaiting = false;
      this.#paint();
    });
  }

  /** Tokens side by side; more are drawn narrower, never below half a pixel. */
  #columns(): number {
    return Math.max(64, this.#history?.length ?? 0);
  }

  #paint(): void {
    const { canvas } = this;
    const history = this.#history;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (width === 0 || height === 0) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const g = canvas.getContext('2d')!;
    g.clearRect(0, 0, width, height);
    if (!history || history.length === 0) return;
    const style = getComputedStyle(canvas);
    const colour = (name: string) => style.getPropertyValue(`--${name}`);
    // Resolved once: light-dark() is no colour of a canvas.
    const [held, written, sink, evicted] = ['held', 'written', 'sink', 'evicted'].map((name) => resolved(colour(name)));
    const [cellWidth, cellHeight] = [width / this.#columns(), height / history.rows];
    const gap = cellWidth > 3 * scale ? scale : 0;
    for (let row = 0; row < history.rows; row++)
      for (let position = 0; position < history.length; position++) {
        const cell = history.cell(row, position);
        const score = this.#scores.get(row)?.get(position);
        if (cell.held === 0) {
          if (cell.evictedAt < 0) continue;
          // Fades with the tokens since.
          g.globalAlpha = Math.max(0.35, 1 - (history.length - cell.evictedAt) / 40);
          g.fillStyle = evicted;
        } else {
          g.globalAlpha = (score === undefined || cell.isNew ? 1 : 0.3 + 0.7 * score) * (0.35 + 0.65 * cell.held);
          g.fillStyle = cell.isNew ? written : position < SINKS ? sink : held;
        }
        g.fillRect(position * cellWidth, row * cellHeight, Math.max(0.5, cellWidth - gap), cellHeight - scale);
      }
    g.globalAlpha = 1;
    if (!this.#cell) return;
    g.strokeStyle = style.color;
    g.lineWidth = 2 * scale;
    g.strokeRect(this.#cell.position * cellWidth, this.#cell.row * cellHeight, cellWidth, cellHeight - scale);
  }

  #point(event: PointerEvent): void {
    const history = this.#history;
    if (!history) return;
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const position = Math.floor(((event.clientX - left) / width) * this.#columns());
    const row = Math.floor(((event.clientY - top) / height) * history.rows);
    this.#select(
      position >= 0 && position < history.length && row >= 0 && row < history.rows ? { row, position } : null,
    );
  }

  #key(event: KeyboardEvent): void {
    const history = this.#history;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !history || history.length === 0) return;
    event.preventDefault();
    const { row, position } = this.#cell ?? { row: 0, position: history.length - 1 };
    this.#select({
      row: Math.min(history.rows - 1, Math.max(0, row + step[0])),
      position: Math.min(history.length - 1, Math.max(0, position + step[1])),
    });
  }

  #select(cell: Cell | null): void {
    this.#cell = cell;
    this.#onSelect(cell);
    this.draw();
  }
}

/** A colour as a canvas understands it. */
function resolved(colour: string): string {
  const probe = document.createElement('i');
  probe.style.color = colour;
  // What a colour means is told by the legend: colours of the user's would make all cells the same.
  probe.style.forcedColorAdjust = 'none';
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
