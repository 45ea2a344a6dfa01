/**
 * @file Which parameters stay in the blocks that the checkpoint has.
 */
import type { BlockRows } from '../../checkpoint/types.ts';
import type { WeightCodec } from '../codec.ts';
import type { ParamPart, ParamSpec, RowSource } from '../types.ts';

/** A parameter whose pieces may be known. */
type Spec = ParamSpec & { readonly parts?: readonly ParamPart[] };

/** The name of one of several that a parameter is stored as. */
export const pieceName = (name: string, index: number): string => `${name}#${index}`;

/**
 * Marks the parameters whose rows the backend can keep as the checkpoint stores them. A parameter that is separable,
 * and whose pieces have different formats, becomes several: files such as Q4_K_M have values in other blocks than
 * queries and keys.
 * @param wanted which of those. @default all
 */
export function keepStored<S extends Spec>(
  specs: readonly S[],
  source: (spec: S) => RowSource,
  { keeps }: WeightCodec,
  wanted: (stored: BlockRows['format'], spec: S) => boolean = () => true,
): readonly S[] {
  if (!keeps) return specs;
  const marked = (spec: S): S => {
    const format = spec.role === 'plain' ? undefined : source(spec).blocks?.format;
    return format !== undefined && keeps(format) && wanted(format, spec) ? { ...spec, stored: format } : spec;
  };
  return specs.flatMap((spec) => {
    const whole = marked(spec);
    if (whole.stored !== undefined || !spec.separable) return [whole];
    const pieces = piecesOf(spec, source).map(marked);
    return pieces.length > 1 && pieces.some(({ stored }) => stored !== undefined) ? pieces : [whole];
  });
}

/** A parameter for each run of parts that are stored in the same format. */
function piecesOf<S extends Spec>(spec: S, source: (spec: S) => RowSource): readonly S[] {
  const runs: { parts: ParamPart[]; format: string | undefined }[] = [];
  const made = (parts: readonly ParamPart[], name = spec.name): S => ({
    ...spec,
    name,
    parts,
    shape: [parts.reduce((sum, { rows }) => sum + rows, 0), ...spec.shape.slice(1)],
  });
  for (const part of spec.parts ?? []) {
    const format = source(made([part])).blocks?.format;
    const last = runs.at(-1);
    if (last && last.format === format) last.parts.push(part);
    else runs.push({ parts: [part], format });
  }
  return runs.map(({ parts }, i) => made(parts, pieceName(spec.name, i)));
}
