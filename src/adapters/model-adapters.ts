/**
 * @file The adapters of a loaded model: what programs see of them.
 */
import type { StepAdapters } from '../step/step-types.ts';
import { InputError } from '../util/errors.ts';
import type { AdapterBank, AdapterChoice, AdapterUse } from './bank.ts';
import type { BaseModel, BaseRows } from './base-model.ts';
import type { OpenAdapter } from './read.ts';

/** The base as adapters are read for it, and what is in the model's weights now. */
export interface OpenBase {
  readonly base: BaseModel;
  readonly rows: BaseRows;
  close(): Promise<void>;
}

export interface ModelAdaptersParts {
  readonly bank: AdapterBank;
  /** Opens the checkpoint that the model was loaded from. */
  readonly openBase: () => Promise<OpenBase>;
  /** Opens an adapter by its path. */
  readonly openAdapter?: (path: string) => Promise<OpenAdapter>;
  /** Names the hooks of the graph that can't be changed from outside. */
  readonly withoutHooks: (adapters: StepAdapters) => readonly string[];
}

export class ModelAdapters {
  readonly #parts: ModelAdaptersParts;

  constructor(parts: ModelAdaptersParts) {
    this.#parts = parts;
  }

  /** Names of the live adapters. */
  get names(): readonly string[] {
    return this.#parts.bank.names;
  }

  /** What requests use that choose nothing. */
  get standard(): readonly AdapterUse[] {
    return this.#parts.bank.standard;
  }

  /** @throws InputError for names that are unknown. */
  set standard(choice: AdapterChoice) {
    this.#parts.bank.standard = choice;
  }

  /** Says what requests compute that choose nothing; empty without live adapters. */
  get fingerprint(): string {
    return this.#parts.bank.fingerprint;
  }

  /**
   * Loads an adapter beside those that are there. Closes its files.
   * @param source an open adapter, or its path.
   * @param name what requests call it by.
   * @throws AdapterError where it is damaged or does not fit the model, or the name is taken; CheckpointError where the model's
   * own files are gone.
   */
  async load(source: OpenAdapter | string, name: string): Promise<void> {
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

  /** As {@link load}, of a base that is open. */
  async loadFor({ base, rows }: Pick<OpenBase, 'base' | 'rows'>, open: OpenAdapter, name: string): Promise<void> {
    const { bank, withoutHooks } = this.#parts;
    bank.checkFree(name);
    const { makeLive } = await import('./live-adapter.ts');
    const live = await makeLive(await open.readFor(base), rows, name, open.fingerprint);
    bank.add(live, withoutHooks);
  }

  /** As the setter of {@link standard}. @throws InputError for names that are unknown. */
  use(choice: AdapterChoice): void {
    this.standard = choice;
  }

  /** Forgets a live adapter. @throws InputError where there is none of that name. */
  unload(name: string): void {
    this.#parts.bank.remove(name);
  }

  /** What a step takes. @param choices one for each row. @throws InputError */
  forRows(choices: readonly (AdapterChoice | undefined)[]): StepAdapters | null {
    return this.#parts.bank.forRows(choices);
  }

  #open(path: string): Promise<OpenAdapter> {
    const { openAdapter } = this.#parts;
    if (!openAdapter) throw new InputError('adapters can not be opened by a path here: give an open adapter');
    return openAdapter(path);
  }
}
