/**
 * @file One policy with its cache: what it holds, what it takes, and what it says.
 */

import type { WorkerCache, WorkerModel } from '../src/exports/web.ts';
import type { AnyCacheOptions } from '../src/kvcache/policies.ts';
import { element } from './dom.ts';
import { CacheHistory } from './history.ts';
import { type Cell, Picture } from './picture.ts';

const SCORES_MS = 400;

export interface SideOptions extends Partial<AnyCacheOptions> {
  readonly policy: string;
  readonly cacheLength: number;
}

export class Side {
  readonly root: HTMLElement;
  readonly #model: WorkerModel;
  readonly #options: SideOptions;
  readonly #picture: Picture;
  readonly #about = element('p', { role: 'status' });
  readonly #numbers = element('p');
  readonly #body = element('tbody');
  #history: CacheHistory;
  #cache: WorkerCache | null = null;
  #tokens: readonly number[] = [];
  #lastScores = 0;

  constructor(model: WorkerModel, options: SideOptions) {
    this.#model = model;
    this.#options = options;
    this.#history = new CacheHistory(model.config.nLayer);
    const title = `${options.policy}, ${options.cacheLength} slots`;
    const label = `Tokens that the cache holds under ${title}. Arrow keys move from cell to cell.`;
    this.#picture = new Picture(label, (cell) => void this.#describe(cell));
    const table = element('details', {}, [
      element('summary', {}, ['As a table']),
      element('table', {}, [
        element('caption', {}, ['Tokens by layer']),
        element('thead', {}, [
          element(
            'tr',
            {},
            ['layer', 'held', 'seen'].map((text) => element('th', { scope: 'col' }, [text])),
          ),
        ]),
        this.#body,
      ]),
    ]);
    this.root = element('div', { class: 'side' }, [
      element('h3', {}, [title]),
      this.#picture.canvas,
      this.#about,
      this.#numbers,
      table,
    ]);
  }

  get policy(): string {
    return this.#options.policy;
  }

  /** The cache, made when it is first used. @throws InputError for options that the policy refuses. */
  async cache(): Promise<WorkerCache> {
    if (this.#cache) return this.#cache;
    const cache = await this.#model.createCache(this.#options);
    this.#history = new CacheHistory(this.#model.config.nLayer);
    this.#picture.history = this.#history;
    cache.on('step', (step) => {
      this.#history.add(step);
      this.#picture.draw();
      void this.#readScores();
    });
    this.#cache = cache;
    return cache;
  }

  /** Says how fast it is and what it takes. */
  async report(tokensPerSecond: number | null): Promise<void> {
    if (!this.#cache) return;
    const [stats, memory] = await Promise.all([this.#cache.stats(), this.#cache.memory()]);
    const speed = tokensPerSecond === null ? '' : `${tokensPerSecond.toFixed(1)} tokens/s · `;
    this.#numbers.textContent =
      `${speed}${Math.round(stats.held[0])} of ${stats.seen[0]} tokens held · ` +
      `${Math.round(stats.evicted[0])} evicted · ${megabytes(memory.keysAndValues)} of ${megabytes(memory.keysAndValuesLimit)}, ` +
      `and ${megabytes(memory.bookkeeping)} of bookkeeping`;
    this.#tokens = await this.#cache.tokens();
    this.#body.replaceChildren(
      ...Array.from({ length: this.#history.layers }, (_, layer) =>
        element('tr', {}, [
          element('th', { scope: 'row' }, [String(layer)]),
          element('td', {}, [this.#history.heldOf(layer).toFixed(1)]),
          element('td', {}, [String(this.#history.length)]),
        ]),
      ),
    );
    this.#lastScores = 0;
    await this.#readScores();
  }

  async dispose(): Promise<void> {
    await this.#cache?.dispose();
    this.#cache = null;
  }

  async #readScores(): Promise<void> {
    const now = performance.now();
    const cache = this.#cache;
    if (!cache || now - this.#lastScores < SCORES_MS) return;
    this.#lastScores = now;
    try {
      const all = new Map<number, ReadonlyMap<number, number>>();
      for (let layer = 0; layer < this.#history.layers; layer++) {
        const [positions, scores] = await Promise.all([cache.tokenPositions(layer), cache.scores(layer)]);
        if (!scores) return;
        const most = Math.max(...scores, 1e-9);
        // Scores are sums of attention: few tokens have most of it, so the root is drawn.
        const shares = scores.map((score) => Math.sqrt(Math.max(0, score) / most));
        all.set(layer, new Map(positions.map((position, i) => [position, shares[i]])));
      }
      this.#picture.scores = all;
    } catch {
      // The cache was disposed of while its scores were read.
    }
  }

  async #describe(cell: Cell | null): Promise<void> {
    if (!cell) {
      this.#about.textContent = '';
      return;
    }
    const { layer, position } = cell;
    const id = this.#tokens[position];
    const text = id === undefined ? '' : ` ${JSON.stringify(await this.#model.tokenizer.decode([id]))}`;
    const evicted: string[] = [];
    let [first, step] = [-1, -1];
    const flush = (end: number) => {
      if (first >= 0)
        evicted.push(`at step ${step} in layer${end - first > 1 ? `s ${first}–${end - 1}` : ` ${first}`}`);
      first = -1;
    };
    for (let l = 0; l < this.#history.layers; l++) {
      const state = this.#history.cell(l, position);
      const at = state.held === 0 ? state.evictedAt : -1;
      if (at !== step || at < 0) flush(l);
      if (at >= 0 && first < 0) [first, step] = [l, at];
    }
    flush(this.#history.layers);
    const { held } = this.#history.cell(layer, position);
    const here = held > 0 ? (held < 1 ? `held by ${Math.round(held * 100)} % of the groups` : 'held') : 'not held';
    const gone = evicted.length > 0 ? `; evicted by ${this.policy} ${evicted.join(', ')}` : '';
    this.#about.textContent = `token ${position}${text}: ${here} in layer ${layer}${gone}`;
  }
}

export const megabytes = (bytes: number): string =>
  bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
