/**
 * @file The live adapters of a loaded model, by name, and which of them a step uses.
 */
import type { Config } from '../config/config.ts';
import type { StepAdapters } from '../step/step-types.ts';
import { AdapterError, InputError } from '../util/errors.ts';
import { batchAdapters, type RowUse, type StackCache, usedAdapters } from './batch.ts';
import type { LiveAdapter } from './live-adapter.ts';

/** An adapter by its name, and how much it counts (default 1). */
export type AdapterUse = string | { readonly name: string; readonly weight?: number };
/** What a request uses; several add up, and an empty list is the model without adapters. */
export type AdapterChoice = AdapterUse | readonly AdapterUse[];

/** Which live adapters a step uses. */
export interface AdapterOptions {
  /** For all rows. @default the model's default adapters */
  readonly adapters?: AdapterChoice;
  /** For each row of a batch, instead; undefined is the standard. */
  readonly rowAdapters?: readonly (AdapterChoice | undefined)[];
}

/** How many batches' inputs, and how many batches' stacked matrices, are kept. */
const MAX_BATCHES = 16;
const MAX_STACKS = 2;

export class AdapterBank {
  readonly #config: Config;
  readonly #live = new Map<string, LiveAdapter>();
  /** Used by every row, whatever it asks for: what merged adapters have that is no weight. */
  readonly #fixed: RowUse;
  #standard: readonly AdapterUse[] = [];
  readonly #batches = new Map<string, StepAdapters | null>();
  readonly #stacks = new Map<string, StackCache>();

  constructor(config: Config, fixed: RowUse = []) {
    this.#config = config;
    this.#fixed = fixed;
  }

  get names(): string[] {
    return [...this.#live.keys()];
  }

  /** Names and weights of what rows use that choose nothing. */
  get standard(): readonly AdapterUse[] {
    return this.#standard;
  }

  set standard(choice: AdapterChoice) {
    this.#row(choice);
    this.#standard = listed(choice);
    this.#batches.clear();
  }

  /** Says what rows compute that choose nothing. */
  get fingerprint(): string {
    return this.#row(this.#standard)
      .map(({ adapter, weight }) => `${adapter.fingerprint}*${weight}`)
      .join();
  }

  /** @throws AdapterError where the name is taken. */
  checkFree(name: string): void {
    if (this.#live.has(name))
      throw new AdapterError(`there is a live adapter named ${name} already; give another name`);
  }

  /**
   * @param check names the hooks that the adapter changes in vain.
   * @throws AdapterError where the name is taken, or the model can't be changed there while it runs.
   */
  add(adapter: LiveAdapter, check: (adapters: StepAdapters) => readonly string[]): void {
    this.checkFree(adapter.name);
    // Half of it, as in batches whose rows differ: these reach the fewest hooks.
    const alone = batchAdapters(this.#config, [[{ adapter, weight: 0.5 }]], [adapter], new Map());
    const hooks = alone ? check(alone) : [];
    if (hooks.length > 0)
      throw new AdapterError(`${adapter.name}: ${hooks.join(', ')} can't be changed by a live adapter; merge it`);
    this.#live.set(adapter.name, adapter);
  }

  /** @throws InputError where there is none of that name. */
  remove(name: string): void {
    this.#find(name);
    this.#live.delete(name);
    this.#standard = this.#standard.filter((use) => nameOf(use) !== name);
    this.#batches.clear();
    this.#stacks.clear();
  }

  /**
   * What a step takes.
   * @param choices one for each row of the batch; undefined: the standard.
   * @throws InputError for names that are unknown and weights that are no numbers.
   */
  forRows(choices: readonly (AdapterChoice | undefined)[]): StepAdapters | null {
    if (this.#live.size === 0 && this.#fixed.length === 0 && choices.every((c) => c === undefined)) return null;
    const rows = choices.map((choice) => [...this.#fixed, ...this.#row(choice ?? this.#standard)]);
    const key = JSON.stringify(rows.map((row) => row.map(({ adapter, weight }) => [adapter.name, weight])));
    const known = this.#batches.get(key);
    if (known !== undefined) return known;
    const adapters = usedAdapters(rows);
    const stacks = this.#stacksOf(adapters);
    const made = batchAdapters(this.#config, rows, adapters, stacks);
    keep(this.#batches, key, made, MAX_BATCHES);
    return made;
  }

  /** Several adapters' matrices are copied to lie behind each other; one adapter's are used as they are. */
  #stacksOf(adapters: readonly LiveAdapter[]): StackCache {
    if (adapters.length < 2) return new Map();
    const key = JSON.stringify(adapters.map(({ name }) => name));
    const known = this.#stacks.get(key);
    if (!known && this.#stacks.size >= MAX_STACKS) this.#batches.clear(); // they hold on to the copies
    const stacks: StackCache = known ?? new Map();
    keep(this.#stacks, key, stacks, MAX_STACKS);
    return stacks;
  }

  #row(choice: AdapterChoice): RowUse {
    return listed(choice).map((use) => {
      const weight = typeof use === 'string' ? 1 : (use.weight ?? 1);
      if (!Number.isFinite(weight)) throw new InputError(`the weight of the adapter ${nameOf(use)} is ${weight}`);
      return { adapter: this.#find(nameOf(use)), weight };
    });
  }

  #find(name: string): LiveAdapter {
    const found = this.#live.get(name);
    if (found) return found;
    const known = this.names.length > 0 ? `there are ${this.names.join(', ')}` : 'no adapter is live';
    throw new InputError(`there is no live adapter named ${name}; ${known}`);
  }
}

function listed(choice: AdapterChoice): readonly AdapterUse[] {
  return typeof choice === 'string' || 'name' in choice ? [choice] : choice;
}

const nameOf = (use: AdapterUse): string => (typeof use === 'string' ? use : use.name);

/** Keeps an entry, and of the others those that came last. */
function keep<T>(map: Map<string, T>, key: string, value: T, most: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
}
