/**
 * @file Where each parameter lies in the prepared weights.
 */
import { scaledBlocks, type WeightCodec } from '../codec.ts';
import type { ParamSpec, StoredParam } from '../types.ts';

/** Offsets are multiples of this, as wide vector loads like it. */
const ALIGNMENT = 64;

export interface WeightLayout {
  readonly params: ReadonlyMap<string, StoredParam>;
  /** In bytes. */
  readonly size: number;
}

/** Lays parameters out behind each other. */
export function layOut(specs: readonly ParamSpec[], codec: WeightCodec = scaledBlocks): WeightLayout {
  const params = new Map<string, StoredParam>();
  let size = 0;
  for (const part of specs.flatMap((spec) => codec.parts(spec))) {
    params.set(part.name, { ...part, offset: size });
    size = Math.ceil((size + part.length) / ALIGNMENT) * ALIGNMENT;
  }
  return { params, size };
}
