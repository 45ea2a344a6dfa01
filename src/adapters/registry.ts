/**
 * @file The live adapters of a loaded model, by name, and the inputs of a step that uses them.
 */
import type { Config } from '../config/config.ts';
import type { StepAdapters } from '../step/step-types.ts';
import { checkText } from '../util/arguments.ts';
import { AdapterError, InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';
import { refuseRetired } from '../util/retired.ts';
import type { BaseModel, BaseRows } from './base-model.ts';
import { type AdapterChoice, type AdapterUse, listUses, nameOfUse } from './choice.ts';
import type { LiveAdapter } from './live/live-adapter.ts';
import type { RowUse, StackCache } from './live/row-inputs.ts';
import type { OpenAdapter } from './read/adapter-files.ts';

/** How many batches' inputs, and how many batches' stacked matrices, are kept. */
const MAX_BATCHES = 16;
const MAX_STACKS = 2;

/** The base as adapters are read for it, and what is in the model's weights now. */
export interface OpenBase {
  readonly base: BaseModel;
  readonly rows: BaseRows;
  close(): Promise<void>;
}

/** What makes an adapter live, and the inputs of steps that use some. */
export type LiveMaker = Pick<typeof import('./live/live-adapter.ts'), 'makeLive'> &
  Pick<typeof import('./live/row-inputs.ts'), 'batchAdapters' | 'usedAdapters'>;

export interface AdapterRegistryParts {
  readonly config: Config;
  /** Called with the first adapter. */
  readonly load: () => Promise<LiveMaker>;
  /** Opens the checkpoint that the model was loaded from. */
  readonly openBase: () => Promise<OpenBase>;
  /** Opens an adapter by its path. */
  readonly openAdapter?: (path: string) => Promise<OpenAdapter>;
  /** Names the hooks of the graph that can't be changed from outside. */
  readonly withoutHooks: (adapters: StepAdapters) => readonly string[];
}

/** The live adapters of a model: loaded, listed, chosen for a row, and taken away. */
export class AdapterRegistry {
  readonly #parts: AdapterRegistryParts;
  #fixed: RowUse = [];
  #maker: LiveMaker | null = null;
  readonly #live = new Map<string, LiveAdapter>();
  #default: readonly AdapterUse[] = [];
  readonly #batches = new Map<string, StepAdapters | null>();
  readonly #stacks = new Map<string, StackCache>();

  /** @internal */
  constructor(parts: AdapterRegistryParts) {
    this.#parts = parts;
  }

  /** Names of the live adapters. */
  get names(): readonly string[] {
    return [...this.#live.keys()];
  }

  /** What requests use that choose nothing. {@link use} sets it. */
  get default(): readonly AdapterUse[] {
    return this.#default;
  }

  /** @deprecated {@link default} */
  get standard(): never {
    return refuseRetired('adapters.standard', 'adapters.default (set by adapters.use(choice))');
  }

  /** Says what requests compute that choose nothing; empty without live adapters. */
  get fingerprint(): string {
    return this.#row(this.#default)
      .map(({ adapter, weight }) => `${adapter.fingerprint}*${weight}`)
      .join();
  }

  /**
   * Loads an adapter beside those that are there. Closes its files.
   * @param source an open adapter, or its path.
   * @param name what requests call it by.
   * @throws AdapterError where it is damaged or does not fit the model, or the name is taken; CheckpointError where the
   * model's own files are gone; InputError for what is no adapter.
   */
  async load(source: OpenAdapter | string, name: string): Promise<void> {
    if (typeof source !== 'string' && typeof source?.readFor !== 'function')
      throw new InputError(`an adapter must be a path or an open adapter, but is ${shown(source)}`);
    checkText('adapters.load', 'a name as a string', name);
    const open = typeof source === 'string' ? await this.#open(source) : source;
    try {
      const base = await this.#parts.openBase();
      try {
        await this.loadFor(base, open, name);
      } finally {
        await base.close();
      }
    } finally {
      await open.close();
    }
  }

  /** As {@link load}, of a base that is open. @internal */
  async loadFor({ base, rows }: Omit<OpenBase, 'close'>, open: OpenAdapter, name: string): Promise<void> {
    this.#checkFree(name);
    this.#maker ??= await this.#parts.load();
    this.#add(await this.#maker.makeLive(await open.readFor(base), rows, name, open.fingerprint), this.#maker);
  }

  /** Sets what every row uses, whatever it asks for: what merged adapters have that is no weight. @internal */
  async fix(uses: RowUse): Promise<void> {
    this.#maker ??= await this.#parts.load();
    this.#fixed = uses;
  }

  /** Sets what requests use that choose nothing. @throws InputError for names that are unknown. */
  use(choice: AdapterChoice): void {
    this.#row(choice);
    this.#default = listUses(choice);
    this.#batches.clear();
  }

  /** Forgets a live adapter. @throws InputError where there is none of that name. */
  unload(name: string): void {
    this.#find(name);
    this.#live.delete(name);
    this.#default = this.#default.filter((use) => nameOfUse(use) !== name);
    this.#batches.clear();
    this.#stacks.clear();
  }

  /**
   * What a step takes.
   * @param choices one for each row of the batch; undefined: {@link default}.
   * @throws InputError for names that are unknown and weights that are no numbers.
   */
  forRows(choices: readonly (AdapterChoice | undefined)[]): StepAdapters | null {
    if (this.#live.size === 0 && this.#fixed.length === 0 && choices.every((c) => c === undefined)) return null;
    const rows = choices.map((choice) => [...this.#fixed, ...this.#row(choice ?? this.#default)]);
    const key = JSON.stringify(rows.map((row) => row.map(({ adapter, weight }) => [adapter.name, weight])));
    const known = this.#batches.get(key);
    if (known !== undefined) return known;
    // Without it there is no adapter that a row could use.
    const adapters = this.#maker?.usedAdapters(rows) ?? [];
    const made = this.#maker?.batchAdapters(this.#parts.config, rows, adapters, this.#stacksOf(adapters)) ?? null;
    keep(this.#batches, key, made, MAX_BATCHES);
    return made;
  }

  #open(path: string): Promise<OpenAdapter> {
    const { openAdapter } = this.#parts;
    if (!openAdapter)
      throw new InputError(
        "adapters can't be opened by a path here: open the adapter first (adapterFromBlobs), and give it",
      );
    return openAdapter(path);
  }

  #checkFree(name: string): void {
    if (this.#live.has(name))
      throw new AdapterError(`there is a live adapter named ${name} already; give another name`);
  }

  #add(adapter: LiveAdapter, { batchAdapters }: LiveMaker): void {
    this.#checkFree(adapter.name);
    // Half of it, as in batches whose rows differ: these reach the fewest hooks.
    const alone = batchAdapters(this.#parts.config, [[{ adapter, weight: 0.5 }]], [adapter], new Map());
    const hooks = alone ? this.#parts.withoutHooks(alone) : [];
    if (hooks.length > 0)
      throw new AdapterError(`${adapter.name}: ${hooks.join(', ')} can't be changed by a live adapter; merge it`);
    this.#live.set(adapter.name, adapter);
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
    return listUses(choice).map((use) => {
      const weight = typeof use === 'string' ? 1 : (use.weight ?? 1);
      if (!Number.isFinite(weight))
        throw new InputError(`the weight of the adapter ${nameOfUse(use)} must be a finite number, but is ${weight}`);
      return { adapter: this.#find(nameOfUse(use)), weight };
    });
  }

  #find(name: string): LiveAdapter {
    const found = this.#live.get(name);
    if (found) return found;
    const known = this.#live.size > 0 ? `there are ${this.names.join(', ')}` : 'no adapter is live';
    throw new InputError(`there is no live adapter named ${name}; ${known}`);
  }
}

/** Keeps an entry, and of the others those that came last. */
function keep<T>(map: Map<string, T>, key: string, value: T, most: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
}
