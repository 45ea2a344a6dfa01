/**
 * @file The cache as a picture: x = token, y = layer, or query group of one layer.
 */
import type { CacheHistory } from './history.ts';

/** The first tokens, which attention needs whatever they say. */
const SINKS = 4;

const COLOURS = ['held', 'written', 'sink', 'evicted'] as const;
type Colour = (typeof COLOURS)[number];
type Colours = Readonly<Record<Colour, string>>;

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
    // Screen readers pass its keys on.
    canvas.setAttribute('role', 'application');
    canvas.setAttribute('aria-roledescription', 'picture');
    canvas.setAttribute('aria-label', label);
    for (const type of ['pointermove', 'pointerdown'] as const)
      canvas.addEventListener(type, (event) => this.#point(event));
    canvas.addEventListener('pointerleave', ({ pointerType }) => {
      // A finger leaves with the end of each touch.
      if (pointerType !== 'touch') this.#select(null);
    });
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
    const colours = { held: '', written: '', sink: '', evicted: '' };
    // Resolved once: light-dark() is no colour of a canvas.
    for (const name of COLOURS) colours[name] = resolved(style.getPropertyValue(`--${name}`));
    const [cellWidth, cellHeight] = [width / this.#columns(), height / history.rows];
    if (cellWidth > 3 * scale) {
      for (let row = 0; row < history.rows; row++)
        for (let position = 0; position < history.length; position++) {
          const look = this.#look(history, row, position);
          if (!look) continue;
          g.globalAlpha = look.strength;
          g.fillStyle = colours[look.colour];
          g.fillRect(position * cellWidth, row * cellHeight, cellWidth - scale, cellHeight - scale);
        }
      g.globalAlpha = 1;
    } else this.#paintNarrow(g, history, colours, cellWidth, scale);
    if (!this.#cell) return;
    g.strokeStyle = style.color;
    g.lineWidth = 2 * scale;
    g.strokeRect(this.#cell.position * cellWidth, this.#cell.row * cellHeight, cellWidth, cellHeight - scale);
  }

  /** Narrow cells without gaps: each pixel is the mean of its cells. A rectangle for each would take too long. */
  #paintNarrow(
    g: CanvasRenderingContext2D,
    history: CacheHistory,
    colours: Colours,
    cellWidth: number,
    gap: number,
  ): void {
    const { width, height } = this.canvas;
    const image = g.createImageData(width, height);
    const lines = image.data;
    const rgb = Object.fromEntries(COLOURS.map((name) => [name, colours[name].match(/[\d.]+/g)!.map(Number)]));
    for (let row = 0; row < history.rows; row++) {
      const top = Math.round((row * height) / history.rows);
      const bottom = Math.max(top + 1, Math.round(((row + 1) * height) / history.rows) - gap);
      for (let x = 0; x < width; x++) {
        const from = Math.floor(x / cellWidth);
        const to = Math.min(history.length, Math.max(from + 1, Math.floor((x + 1) / cellWidth)));
        let [red, green, blue, strengths] = [0, 0, 0, 0];
        for (let position = from; position < to; position++) {
          const look = this.#look(history, row, position);
          if (!look) continue;
          const [r, g, b] = rgb[look.colour];
          strengths += look.strength;
          red += r * look.strength;
          green += g * look.strength;
          blue += b * look.strength;
        }
        if (strengths === 0) continue;
        const pixel = [red / strengths, green / strengths, blue / strengths, (255 * strengths) / (to - from)];
        lines.set(pixel, 4 * (top * width + x));
      }
      for (let y = top + 1; y < bottom; y++) lines.copyWithin(4 * y * width, 4 * top * width, 4 * (top + 1) * width);
    }
    g.putImageData(image, 0, 0);
  }

  /** How a cell is drawn; null: it is not. */
  #look(history: CacheHistory, row: number, position: number): { colour: Colour; strength: number } | null {
    const cell = history.cell(row, position);
    if (cell.held === 0) {
      if (cell.evictedAt < 0) return null;
      // Fades with the tokens since.
      return { colour: 'evicted', strength: Math.max(0.35, 1 - (history.length - cell.evictedAt) / 40) };
    }
    const score = cell.isNew ? undefined : this.#scores.get(row)?.get(position);
    return {
      colour: cell.isNew ? 'written' : position < SINKS ? 'sink' : 'held',
      strength: (score === undefined ? 1 : 0.3 + 0.7 * score) * (0.35 + 0.65 * cell.held),
    };
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
    if (!history || history.length === 0) return;
    const last = history.length - 1;
    const { row, position } = this.#cell ?? { row: 0, position: last };
    const far = Math.ceil(history.length / 10);
    const next: Readonly<Record<string, readonly [row: number, position: number]>> = {
      ArrowLeft: [row, position - 1],
      ArrowRight: [row, position + 1],
      ArrowUp: [row - 1, position],
      ArrowDown: [row + 1, position],
      PageUp: [row, position - far],
      PageDown: [row, position + far],
      Home: [row, 0],
      End: [row, last],
    };
    const isZoom = event.key === 'Enter';
    if (!isZoom && !(event.key in next)) return;
    event.preventDefault();
    if (isZoom) {
      this.#onZoom(row);
      return;
    }
    const [toRow, toPosition] = next[event.key];
    this.#select({
      row: Math.min(history.rows - 1, Math.max(0, toRow)),
      position: Math.min(last, Math.max(0, toPosition)),
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
