/**
 * @file Which parameters a backend reads where the checkpoint's own file has them. Nothing is written for them.
 */
import type { WeightCodec } from '../codec.ts';
import type { ParamSpec, PreparedWeights, RowSource, StoredParam } from '../types.ts';

/** Offsets of tensors in a GGUF file are multiples of this, unless it says otherwise; ggml's products want it. */
const ALIGNMENT = 32;

export interface MappedParams<S extends ParamSpec> {
  readonly mapped: ReadonlyMap<string, StoredParam>;
  /** Parameters that have to be prepared. */
  readonly rest: readonly S[];
}

/**
 * Tells parameters apart whose rows lie behind each other in a file as the backend wants them.
 * @param specs as `keepStored` marks them.
 */
export function mapStored<S extends ParamSpec>(
  specs: readonly S[],
  source: (spec: S) => RowSource,
  codec: WeightCodec,
): MappedParams<S> {
  const mapped = new Map<string, StoredParam>();
  const rest: S[] = [];
  for (const spec of specs) {
    const { rows, blocks }: Pick<RowSource, 'rows' | 'blocks'> = spec.stored === undefined ? { rows: 0 } : source(spec);
    const location = blocks?.location;
    if (!location || location.offset % ALIGNMENT !== 0) {
      rest.push(spec);
      continue;
    }
    const [part, ...more] = codec.parts(spec);
    // The checkpoint's blocks are in no layout, which may be longer.
    const stored = { ...part, layout: undefined, length: rows * blocks.rowBytes };
    if (part.dtype === spec.stored && more.length === 0) mapped.set(spec.name, { ...stored, ...location });
    else rest.push(spec);
  }
  return { mapped, rest };
}

/** Prepared weights, and parameters in other files. */
export function withMapped(prepared: PreparedWeights, mapped: ReadonlyMap<string, StoredParam>): PreparedWeights {
  if (mapped.size === 0) return prepared;
  const size = [...mapped.values()].reduce((sum, { length }) => sum + length, prepared.size);
  return { ...prepared, params: new Map([...prepared.params, ...mapped]), size };
}
