/**
 * @file The tokenizer and the adapters of a model in a thread.
 */
import type { AdapterChoice, AdapterUse } from '../adapters/choice.ts';
import type { OpenAdapter } from '../adapters/read/adapter-files.ts';
import type { TextAdapters, TextTokenizer } from '../engine/text-model.ts';
import type { DecodeOptions, EncodeOptions } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';
import { refuseRetired } from '../util/retired.ts';
import type { AdapterFacts } from './protocol.ts';
import type { Caller } from './rpc.ts';

/** @throws InputError where the model has none. */
export class WorkerTokenizer implements TextTokenizer {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    return this.#caller.call<number[]>('encode', { text, options }).done;
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): Promise<string> {
    return this.#caller.call<string>('decode', { ids, options }).done;
  }

  tokenBytes(id: number): Promise<Uint8Array | null> {
    return this.#caller.call<Uint8Array | null>('tokenBytes', { id }).done;
  }
}

export class WorkerAdapters implements TextAdapters {
  readonly #caller: Caller;
  #facts: AdapterFacts;

  /** @internal */
  constructor(caller: Caller, facts: AdapterFacts) {
    this.#caller = caller;
    this.#facts = facts;
  }

  get names(): readonly string[] {
    return this.#facts.names;
  }

  get default(): readonly AdapterUse[] {
    return this.#facts.default;
  }

  /** @deprecated {@link default} */
  get standard(): never {
    return refuseRetired('adapters.standard', 'adapters.default (set by adapters.use(choice))');
  }

  /** Of the model with them. */
  get fingerprint(): string {
    return this.#facts.fingerprint;
  }

  async load(source: OpenAdapter | string, name: string): Promise<void> {
    if (typeof source !== 'string')
      throw new InputError("an open adapter can't go to another thread: give the path of its folder");
    await this.#call('loadAdapter', { path: source, name });
  }

  use(choice: AdapterChoice): Promise<void> {
    return this.#call('useAdapters', { choice });
  }

  unload(name: string): Promise<void> {
    return this.#call('unloadAdapter', { name });
  }

  async #call(method: string, args: object): Promise<void> {
    this.#facts = await this.#caller.call<AdapterFacts>(method, args).done;
  }
}
