/**
 * @file One policy with its cache: what it holds, what it takes, and what it says.
 */
import type { CacheContents } from '../src/exports/policies.ts';
import { element } from './dom.ts';
import type { CacheChoice, Conversation, PageModel } from './engine.ts';
import { CacheHistory } from './history.ts';
import { type Cell, Picture } from './picture.ts';
import { savePicture } from './picture-file.ts';
import { fail } from './status.ts';

const SCORES_MS = 400;

export class Side {
  readonly root: HTMLElement;
  /** The cache that it shows. */
  readonly title: string;
  readonly #model: PageModel;
  readonly #choice: CacheChoice;
  readonly #picture: Picture;
  readonly #about = element('p', { role: 'status' });
  readonly #numbers = element('p');
  readonly #table = element('details');
  readonly #body = element('tbody');
  readonly #heads = ['layer', 'held', 'evicted', 'seen', 'tokens held'].map((text) =>
    element('th', { scope: 'col' }, [text]),
  );
  readonly #rows: HTMLSelectElement;
  #history: CacheHistory;
  #drawn: CacheHistory | null = null;
  #conversation: Conversation | null = null;
  #tokens: readonly number[] = [];
  #lastScores = 0;
  #cell: Cell | null = null;

  constructor(model: PageModel, choice: CacheChoice) {
    this.#model = model;
    this.#choice = choice;
    this.#history = new CacheHistory(model.layers);
    const title = model.titleOf(choice);
    this.title = title;
    const label =
      `Tokens that the cache holds under ${title}. Arrow keys move from cell to cell, Home and End to the first and ` +
      'last token, Page Up and Page Down by a tenth; Enter shows the groups of a layer.';
    this.#picture = new Picture(
      label,
      (cell) => void this.#describe(cell),
      (row) => this.#zoom(this.#layer === null ? row : null),
    );
    const layers = Array.from({ length: model.layers }, (_, l) =>
      element('option', { value: String(l) }, [`groups of layer ${l}`]),
    );
    this.#rows = element('select', {}, [element('option', { value: '' }, ['layers']), ...layers]);
    this.#rows.addEventListener('change', () => this.#zoom(this.#layer));
    this.#table.append(
      element('summary', {}, ['As a table']),
      element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${title}, as a table` }, [
        element('table', {}, [
          element('caption', {}, ['Tokens by row of the picture']),
          element('thead', {}, [element('tr', {}, this.#heads)]),
          this.#body,
        ]),
      ]),
    );
    this.#table.addEventListener('toggle', () => this.#fillTable());
    const save = element('button', { type: 'button', class: 'small' }, ['Save the picture']);
    save.addEventListener('click', () => {
      const texts = [`Keyhold · ${model.about}`, `${title} · ${this.#numbers.textContent}`];
      savePicture(this.#picture.canvas, texts, `${title}.png`).catch(fail);
    });
    this.root = element('div', { class: 'side', role: 'group', 'aria-label': title }, [
      element('h3', {}, [title]),
      this.#picture.canvas,
      this.#about,
      this.#numbers,
      element('div', { class: 'row' }, [element('label', {}, ['Rows ', this.#rows]), save]),
      this.#table,
    ]);
    this.#hint();
  }

  /** How the picture is read, where no cell is chosen. */
  #hint(): void {
    const rows = this.#layer === null ? 'layer' : 'query group';
    this.#about.textContent = `Each column is a token, each row a ${rows}. Point at one, or use the arrow keys.`;
  }

  get policy(): string {
    return this.#choice.policy;
  }

  /** The conversation, begun when it is first used. @throws InputError for options that the policy refuses. */
  async conversation(): Promise<Conversation> {
    if (this.#conversation) return this.#conversation;
    this.#history = new CacheHistory(this.#model.layers);
    this.#draw();
    this.#conversation = await this.#model.converse(this.#choice, {
      onStep: (step) => {
        this.#history.add(step);
        this.#draw();
        void this.#readScores();
      },
      onContents: (contents) => {
        this.#history.show(contents);
        this.#draw();
        this.#showScores(contents);
      },
    });
    return this.#conversation;
  }

  /** Says how fast it is and what it takes. */
  async report(tokensPerSecond: number | null): Promise<void> {
    const report = await this.#conversation?.report();
    if (!report) return;
    const { stats, memory, tokens } = report;
    const speed = tokensPerSecond === null ? '' : `${tokensPerSecond.toFixed(1)} tokens/s · `;
    this.#numbers.textContent =
      `${speed}${Math.round(stats.held[0])} of ${stats.seen[0]} tokens held · ` +
      `${Math.round(stats.evicted[0])} evicted · ${megabytes(memory.keysAndValues)} of ${megabytes(memory.keysAndValuesLimit)} · ` +
      `${megabytes(memory.bookkeeping)} of bookkeeping`;
    this.#tokens = tokens;
    this.#fillTable();
    this.#lastScores = 0;
    await this.#readScores();
  }

  async dispose(): Promise<void> {
    await this.#conversation?.dispose();
    this.#conversation = null;
  }

  /** The layer whose query groups are the rows; null: rows are layers. */
  get #layer(): number | null {
    return this.#rows.value === '' ? null : Number(this.#rows.value);
  }

  /** What the picture and the table have as rows; null: that layer has nothing yet. */
  get #shown(): CacheHistory | null {
    return this.#layer === null ? this.#history : this.#history.groupsOf(this.#layer);
  }

  #zoom(layer: number | null): void {
    this.#rows.value = layer === null ? '' : String(layer);
    this.#heads[0].textContent = layer === null ? 'layer' : 'group';
    this.#drawn = this.#shown;
    this.#picture.history = this.#drawn;
    this.#hint();
    this.#fillTable();
    this.#lastScores = 0;
    void this.#readScores();
  }

  #draw(): void {
    // A layer's groups are known with its first step.
    if (this.#drawn !== this.#shown) {
      this.#drawn = this.#shown;
      this.#picture.history = this.#drawn;
    } else this.#picture.draw();
  }

  #fillTable(): void {
    // A long one takes time.
    if (!this.#table.open) return;
    const shown = this.#shown;
    this.#body.replaceChildren(
      ...Array.from({ length: shown?.rows ?? 0 }, (_, row) =>
        element('tr', {}, [
          element('th', { scope: 'row' }, [String(row)]),
          element('td', {}, [shown!.heldOf(row).toFixed(1)]),
          element('td', {}, [(shown!.length - shown!.heldOf(row)).toFixed(1)]),
          element('td', {}, [String(shown!.length)]),
          element('td', {}, [rangesOf(shown!, row)]),
        ]),
      ),
    );
  }

  async #readScores(): Promise<void> {
    const now = performance.now();
    const conversation = this.#conversation;
    if (!conversation || now - this.#lastScores < SCORES_MS) return;
    this.#lastScores = now;
    // The cache may be disposed of while its scores are read.
    const contents = await conversation.contents().catch(() => null);
    if (contents) this.#showScores(contents);
  }

  #showScores({ layerGroups }: CacheContents): void {
    const all = new Map<number, ReadonlyMap<number, number>>();
    const zoomed = this.#layer;
    for (const { layers, groups } of layerGroups) {
      if (zoomed === null) for (const layer of layers) all.set(layer, sharesOf(groups[0]));
      else if (layers.includes(zoomed)) for (const [g, group] of groups.entries()) all.set(g, sharesOf(group));
    }
    this.#picture.scores = all;
  }

  async #describe(cell: Cell | null): Promise<void> {
    this.#cell = cell;
    if (!cell) return this.#hint();
    const { row, position } = cell;
    const shown = this.#shown;
    const layer = this.#layer;
    if (!shown) return;
    const what = layer === null ? 'layer' : 'group';
    const id = this.#tokens[position];
    const text = id === undefined ? '' : ` ${JSON.stringify(await this.#model.decode(id))}`;
    // Another cell was selected meanwhile, and its text may be there already.
    if (this.#cell !== cell) return;
    const evicted: string[] = [];
    let [first, token] = [-1, -1];
    const flush = (end: number) => {
      if (first >= 0)
        evicted.push(`after token ${token} in ${what}${end - first > 1 ? `s ${first}–${end - 1}` : ` ${first}`}`);
      first = -1;
    };
    for (let r = 0; r < shown.rows; r++) {
      const state = shown.cell(r, position);
      const at = state.held === 0 ? state.evictedAt : -1;
      if (at !== token || at < 0) flush(r);
      if (at >= 0 && first < 0) [first, token] = [r, at];
    }
    flush(shown.rows);
    const { held } = shown.cell(row, position);
    const here = held > 0 ? (held < 1 ? `held by ${Math.round(held * 100)} % of the groups` : 'held') : 'not held';
    const gone = evicted.length > 0 ? `; evicted by ${this.policy} ${evicted.join(', ')}` : '';
    this.#about.textContent = `token ${position}${text}: ${here} in ${what} ${row}${layer === null ? '' : ` of layer ${layer}`}${gone}`;
  }
}

/** The tokens that a row holds, or some of its groups do: `0–3, 17`. */
function rangesOf(history: CacheHistory, row: number): string {
  const ranges: string[] = [];
  for (let position = 0, first = -1; position <= history.length; position++) {
    const isHeld = position < history.length && history.cell(row, position).held > 0;
    if (isHeld && first < 0) first = position;
    if (isHeld || first < 0) continue;
    ranges.push(first === position - 1 ? String(first) : `${first}–${position - 1}`);
    first = -1;
  }
  return ranges.join(', ');
}

/** How bright each token is drawn, 0 … 1. */
function sharesOf({ positions, scores }: CacheContents['layerGroups'][number]['groups'][number]): Map<number, number> {
  if (!scores) return new Map();
  const most = Math.max(...scores, 1e-9);
  // Scores are sums of attention: few tokens have most of it, so the root is drawn.
  return new Map(positions.map((position, i) => [position, Math.sqrt(Math.max(0, scores[i]) / most)]));
}

export const megabytes = (bytes: number): string =>
  bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
