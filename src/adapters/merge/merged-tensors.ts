/**
 * @file A merged model as the tensors of a checkpoint: under the family's names, in its order of rows, in the types of
 * the base.
 */
import type { StoredDtype, StoredTensor } from '../../checkpoint/types.ts';
import { AdapterError } from '../../util/errors.ts';
import { narrow } from '../../util/half.ts';
import { PIECE_VALUES, product } from '../../util/numbers.ts';
import type { TensorLocation } from '../../weights/resolve.ts';
import { concatRows, mapRows, pickRows, transpose } from '../../weights/rows.ts';
import type { RowSource } from '../../weights/types.ts';
import type { BaseModel } from '../base-model.ts';
import type { MergedModel } from './merged-model.ts';

/** A tensor of a merged checkpoint. */
export interface MergedTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  bytes(): AsyncIterable<Uint8Array>;
}

/** Something that a tensor holds. */
interface Piece {
  /** Whole name in the model: `h.0.attn.q.weight`. */
  readonly name: string;
  readonly location: TensorLocation;
  readonly rows: RowSource;
}

const HEAD = 'lm_head.weight';

/**
 * All tensors, those that nothing changes as they are.
 * @throws AdapterError for changes that no tensor of this family can hold.
 */
export async function mergedTensors(base: BaseModel, merged: MergedModel): Promise<MergedTensor[]> {
  const pieces = piecesOf(base, merged);
  const byTensor = new Map<StoredTensor, Piece[]>();
  for (const piece of pieces) {
    const { stored } = piece.location;
    if (stored) byTensor.set(stored, [...(byTensor.get(stored) ?? []), piece]);
    else if (merged.changes(piece.name) && !(piece.name === HEAD && base.config.tieEmbeddings))
      throw new AdapterError(`${base.label} has no tensor for ${piece.name}, which the adapter changes`);
  }
  const out: MergedTensor[] = [];
  for (const tensor of base.checkpoint.tensors.values()) {
    const own = byTensor.get(tensor) ?? [];
    out.push(own.some(({ name }) => merged.changes(name)) ? await changedTensor(tensor, own) : unchanged(tensor));
  }
  return base.config.tieEmbeddings && !merged.config.tieEmbeddings ? withHead(out, pieces) : out;
}

function piecesOf(base: BaseModel, merged: MergedModel): Piece[] {
  const pieces: Piece[] = [];
  const add = (name: string, rows: RowSource | null) => {
    const location = base.tensor(name);
    if (rows && location) pieces.push({ name, location, rows });
  };
  for (const part of base.parts.keys()) {
    add(`${part}.weight`, merged.weight(part));
    add(`${part}.bias`, merged.bias(part));
  }
  for (const [name, { unitOffset }] of base.vectors) {
    const rows = merged.vector(name);
    add(name, unitOffset ? mapRows(rows, (w) => w - 1) : rows);
  }
  return pieces;
}

async function changedTensor(tensor: StoredTensor, pieces: readonly Piece[]): Promise<MergedTensor> {
  const rows = await inStoredOrder(pieces);
  const count = product(tensor.shape);
  const stacked = pieces[0].location.transposed && tensor.shape.length > 2;
  if (rows.rows * rows.cols !== count || stacked)
    throw new AdapterError(
      `the tensor ${tensor.name} holds more than the parts that are known of it; it can't be merged`,
    );
  const { name, dtype, shape } = tensor;
  return { name, dtype, shape, bytes: () => bytesOf(rows, name, dtype) };
}

/** The tensor's rows, put together of the parts' rows. */
async function inStoredOrder(pieces: readonly Piece[]): Promise<RowSource> {
  const whole = concatRows(pieces.map(({ rows }) => rows));
  const from = new Int32Array(whole.rows);
  let start = 0;
  for (const { location, rows } of pieces) {
    for (const [i, row] of (await location.rows()).entries()) from[row] = start + i;
    start += rows.rows;
  }
  const ordered = pickRows(whole, (row) => from[row], whole.rows);
  return pieces[0].location.transposed && whole.cols > 1 ? transpose(ordered) : ordered;
}

async function* bytesOf(rows: RowSource, name: string, dtype: StoredDtype): AsyncIterable<Uint8Array> {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw new AdapterError(`the tensor ${name} is of the type ${dtype}, which changed values can't be written as`);
  const step = Math.max(1, Math.floor(PIECE_VALUES / rows.cols));
  for (let start = 0; start < rows.rows; start += step) {
    const values = await rows.read(start, Math.min(step, rows.rows - start));
    if (dtype === 'F16' && values.some((x) => Math.abs(x) >= 65520))
      throw new AdapterError(`the merged tensor ${name} has values too large for its type, F16`);
    yield narrow(values, dtype);
  }
}

function unchanged(tensor: StoredTensor): MergedTensor {
  const { name, dtype, shape } = tensor;
  const count = product(shape);
  async function* bytes(): AsyncIterable<Uint8Array> {
    if (!tensor.readBytes) {
      yield* bytesOf({ rows: count, cols: 1, read: (start, n) => tensor.readFloats(start, n) }, name, dtype);
      return;
    }
    for (let start = 0; start < count; start += PIECE_VALUES)
      yield tensor.readBytes(start, Math.min(PIECE_VALUES, count - start));
  }
  return { name, dtype, shape, bytes };
}

/**
 * A head of its own, where it was tied to the embedding. Names then have the prefix that the family's whole models
 * have.
 */
function withHead(tensors: readonly MergedTensor[], pieces: readonly Piece[]): MergedTensor[] {
  const head = pieces.find(({ name }) => name === HEAD);
  const embedding = pieces.find(({ name }) => name === 'wte.weight')?.location;
  if (!head || !embedding?.stored) throw new AdapterError('models of this family have no head of their own');
  const { name, dtype } = embedding.stored;
  const more = embedding.name.endsWith(name) ? embedding.name.slice(0, -name.length) : '';
  const less = name.endsWith(embedding.name) ? name.slice(0, -embedding.name.length) : '';
  const headName = less + head.location.name;
  const { rows } = head;
  return [
    ...tensors.map((tensor) => ({ ...tensor, name: more + tensor.name })).filter((tensor) => tensor.name !== headName),
    { name: headName, dtype, shape: [rows.rows, rows.cols], bytes: () => bytesOf(rows, headName, dtype) },
  ];
}
