/**
 * @file What a way of quantizing is: which config it has, and how its tensors become plain ones.
 */
import { CheckpointError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { show } from '../../util/json/show.ts';
import type { StoredTensor } from '../types.ts';

export type Json = Readonly<Record<string, unknown>>;

/** A module's tensors, by what follows its name: `qweight`, `weight.absmax`. */
export interface QuantizedModule {
  /** Its name, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly parts: ReadonlyMap<string, StoredTensor>;
  /** @throws CheckpointError where there is none of that name. */
  need(part: string): StoredTensor;
  get(part: string): StoredTensor | undefined;
  /** An error about this module. */
  fail(what: string): CheckpointError;
}

/** What a module becomes. */
export interface PlainTensors {
  readonly tensors: readonly StoredTensor[];
  /** The parts that are taken in; the others (a bias) stay as they are. */
  readonly used: readonly string[];
}

export interface Method {
  /** For messages, e.g. `GPTQ`. */
  readonly name: string;
  /** The part that makes a module one of this method's. */
  readonly marks: readonly string[];
  /** @throws CheckpointError for a setting that is not read. */
  read(module: QuantizedModule): PlainTensors | Promise<PlainTensors>;
}

/** The settings of a method, out of quantization_config. */
export class QuantSettings {
  readonly #json: Json;
  readonly #where: string;

  constructor(json: Json, where: string) {
    this.#json = json;
    this.#where = where;
  }

  get(key: string): unknown {
    return this.#json[key] ?? undefined;
  }

  object(key: string): QuantSettings {
    const value = this.get(key);
    return new QuantSettings(isObject(value) ? value : {}, `${this.#where}.${key}`);
  }

  entries(): [string, unknown][] {
    return Object.entries(this.#json);
  }

  int(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isInteger(value)) throw this.fail(key, 'must be a whole number');
    return value;
  }

  text(key: string, fallback?: string): string {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'string') throw this.fail(key, 'must be text');
    return value;
  }

  fail(key: string, what: string): CheckpointError {
    return new CheckpointError(
      `${this.#where}.${key} ${what}, but is ${show(this.get(key))}. Use the original weights, or another quantization of the model.`,
    );
  }
}
