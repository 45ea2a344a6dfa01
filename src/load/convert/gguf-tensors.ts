/**
 * @file A model's parameters as the tensors of a GGUF file: names, orders of rows, experts in one tensor.
 */
import { BARE, FUSED, type GgufLayout, MODULES } from '../../checkpoint/gguf/layouts.ts';
import type { Config } from '../../config/config.ts';
import { ConfigError } from '../../util/errors.ts';
import { concatRows, mapRows, pickRows, sliceRows, transpose } from '../../weights/rows.ts';
import type { Param, RowSource } from '../../weights/types.ts';
import type { GgufModelFacts } from './gguf-model.ts';

/** A tensor to be written. */
export interface GgufTensor {
  readonly name: string;
  /** The slowest axis first. */
  readonly shape: readonly number[];
  readonly rows: RowSource;
  /** `exact`: always float32 (norms, biases, routers); `table`: embedding and head. */
  readonly role: 'matrix' | 'table' | 'exact';
}

/** What the layout of some tensors depends on. */
interface HeadCounts {
  readonly q: number;
  readonly k: number;
  /** Of Mamba-2; null: the model has none. */
  readonly ssmGroups: number | null;
  /** Key heads of gated delta nets; null: the model has none. */
  readonly deltaKeys: number | null;
}

/** One piece of a tensor: all of it, or one expert's, or one head's. */
interface Piece {
  readonly rows: RowSource;
  readonly index: number | null;
}

/**
 * @param parameters all of the model, and the rows of each.
 * @throws ConfigError for a parameter that has no name in GGUF.
 */
export function ggufTensors(
  config: Config,
  { specs, source }: { readonly specs: readonly Param[]; readonly source: (param: Param) => RowSource },
  { layout, extra }: GgufModelFacts,
): GgufTensor[] {
  const heads = countsOf(config);
  const pieces = new Map<string, Piece[]>();
  for (const spec of specs)
    for (const { name, rows } of partsOf(spec, source(spec))) {
      const { tensor, index, map } = nameOf(name, layout);
      const found = pieces.get(tensor) ?? [];
      // One norm for all heads is a part of the parameter once for each of them.
      if (!found.some((piece) => piece.index === index)) found.push({ rows: map ? mapRows(rows, map) : rows, index });
      pieces.set(tensor, found);
    }
  const tensors = new Map([...pieces].map(([name, list]) => [name, assemble(name, list, heads)]));
  if (layout.rotated) for (const [name, tensor] of tensors) tensors.set(name, interleaved(tensor, heads));
  if (layout.fusedQkv) fuse(tensors, FUSED.qkv.parts, FUSED.qkv.to);
  byTurns(tensors, ['attn_q', 'attn_q_gate'], 'attn_q', heads.q);
  if (heads.deltaKeys !== null) byTurns(tensors, ['ssm_beta', 'ssm_alpha'], 'ssm_ba', heads.deltaKeys);
  if (layout.fusedGateUp) fuse(tensors, FUSED.gateUp.parts, FUSED.gateUp.to);
  return [...tensors.values(), ...[...extra].map(([name, values]) => constant(name, values))];
}

function countsOf({ layers }: Config): HeadCounts {
  const mixers = layers.map(({ mixer }) => mixer);
  const attention = mixers.find((mixer) => mixer?.kind === 'self-attention');
  const ssm = mixers.find((mixer) => mixer?.kind === 'mamba-2');
  const delta = mixers.find((mixer) => mixer?.kind === 'gated-delta');
  return {
    q: attention?.heads ?? 1,
    k: attention?.groups ?? 1,
    ssmGroups: ssm?.groups ?? null,
    deltaKeys: delta?.keyHeads ?? null,
  };
}

function constant(name: string, values: readonly number[]): GgufTensor {
  const read = async (start: number, count: number) => Float32Array.from(values.slice(start, start + count));
  return { name, shape: [values.length], role: 'exact', rows: { rows: values.length, cols: 1, read } };
}

/** The pieces that a parameter is made of, each with its rows. */
function partsOf(spec: Param, whole: RowSource): { name: string; rows: RowSource }[] {
  let start = 0;
  return spec.parts.flatMap(({ name, rows, interleaved: turns }) => {
    const first = start;
    if (!turns) {
      start += rows;
      return [{ name, rows: sliceRows(whole, first, rows) }];
    }
    const each = turns[0].rows;
    start += turns.length * each;
    return turns.map((turn, i) => ({
      name: turn.name,
      rows: pickRows(whole, (row) => first + row * turns.length + i, each),
    }));
  });
}

interface Named {
  readonly tensor: string;
  readonly index: number | null;
  readonly map?: (value: number) => number;
}

function nameOf(part: string, { names = {} }: GgufLayout): Named {
  const [, block, own] = /^(?:h\.(\d+)\.)?(.+)$/.exec(part)!;
  if (Object.hasOwn(BARE, own)) return { tensor: `blk.${block}.${BARE[own].name}`, index: null, map: BARE[own].map };
  const [, layer, module, suffix] = /^(?:h\.(\d+)\.)?(.+)(\.\w+)$/.exec(part)!;
  const [, before, index, after] = /^(.+)\.(\d+)(\..+)?$/.exec(module) ?? [];
  const key = before === undefined ? module : before + (after ?? '');
  const name = names[key] ?? MODULES[key];
  if (name === undefined) throw new ConfigError(`GGUF can't hold this model: the parameter ${part} has no name there`);
  return {
    tensor: `${layer === undefined ? '' : `blk.${layer}.`}${name}${suffix}`,
    index: index === undefined ? null : Number(index),
  };
}

const TURNED = /\.(ssm_conv1d|shortconv\.conv)\.weight$/;

function assemble(name: string, list: readonly Piece[], { ssmGroups }: HeadCounts): GgufTensor {
  const module = name.replace(/^blk\.\d+\./, '').replace(/\.\w+$/, '');
  const stored = concatRows([...list].sort((a, b) => (a.index ?? 0) - (b.index ?? 0)).map((piece) => piece.rows));
  // Taps of a convolution are the columns.
  const rows = TURNED.test(name) ? transpose(stored) : stored;
  const stacked = list[0].index !== null;
  const flat = rows.cols === 1 || (rows.rows === 1 && module === 'ffn_gate_inp_shexp');
  const size = rows.rows * rows.cols;
  const groups = ssmGroups === null ? undefined : { ssm_a: size, ssm_d: size, ssm_norm: ssmGroups }[module];
  // Mamba-2 has a row for each head or group.
  const shape = groups
    ? [groups, size / groups]
    : stacked
      ? [list.length, rows.rows / list.length, ...(rows.cols === 1 ? [] : [rows.cols])]
      : flat
        ? [rows.rows * rows.cols]
        : [rows.rows, rows.cols];
  const exact =
    rows.cols === 1 || flat || /_norm$|^ffn_gate_inp|^position_embd$|^ssm_(a|d|conv1d)$|^shortconv\.conv$/.test(module);
  return { name, shape, rows, role: exact ? 'exact' : /^(token_embd|output)$/.test(module) ? 'table' : 'matrix' };
}

/** Rows (i, i + half) of each head become (2i, 2i + 1). */
function interleaved(tensor: GgufTensor, heads: HeadCounts): GgufTensor {
  const which = /\.attn_([qk])\.\w+$/.exec(tensor.name)?.[1] as 'q' | 'k' | undefined;
  if (!which) return tensor;
  const size = tensor.rows.rows / heads[which];
  const pick = (row: number) => row - (row % size) + Math.floor((row % size) / 2) + (row % 2 === 0 ? 0 : size / 2);
  return { ...tensor, rows: pickRows(tensor.rows, pick, tensor.rows.rows) };
}

/** Puts two modules' rows of each head together: those of the first, then those of the second. */
function byTurns(
  tensors: Map<string, GgufTensor>,
  [one, other]: readonly [string, string],
  to: string,
  heads: number,
): void {
  for (const second of [...tensors.values()].filter(({ name }) => name.includes(`.${other}.`))) {
    const first = tensors.get(second.name.replace(`.${other}.`, `.${one}.`))!;
    tensors.delete(first.name);
    tensors.delete(second.name);
    const both = concatRows([first.rows, second.rows]);
    const height = first.rows.rows / heads;
    const pick = (row: number) => {
      const inHead = row % (2 * height);
      const start = Math.floor(row / (2 * height)) * height;
      return inHead < height ? start + inHead : first.rows.rows + start + inHead - height;
    };
    const name = second.name.replace(`.${other}.`, `.${to}.`);
    const rows = pickRows(both, pick, both.rows);
    tensors.set(name, { ...first, name, rows, shape: [both.rows, both.cols] });
  }
}

/** Puts the tensors of several modules of each layer below each other. */
function fuse(tensors: Map<string, GgufTensor>, parts: readonly string[], to: string): void {
  for (const name of [...tensors.keys()]) {
    const [, before, suffix] = new RegExp(`^(blk\\.\\d+\\.)${parts[0]}(\\.\\w+)$`).exec(name) ?? [];
    if (before === undefined) continue;
    const names = parts.map((part) => before + part + suffix);
    const found = names.map((part) => tensors.get(part)!);
    for (const part of names) tensors.delete(part);
    const rows = concatRows(found.map((tensor) => tensor.rows));
    const shape = rows.cols === 1 ? [rows.rows] : [rows.rows, rows.cols];
    tensors.set(before + to + suffix, { ...found[0], name: before + to + suffix, rows, shape });
  }
}
