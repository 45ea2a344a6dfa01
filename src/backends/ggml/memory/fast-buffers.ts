/**
 * @file Which of this processor's layouts a matrix can have. A buffer takes any tensor, but one that its products do
 * not know crashes the process when values are written to it: so ggml is asked about the product first.
 */
import type { Pointer } from '../binding/functions.ts';
import type { Ggml } from '../binding/ggml.ts';
import { blockLength, GGML_TYPES, type GgmlType } from '../binding/types.ts';
import { TensorContext } from './tensor-context.ts';

/** A matrix [rows, cols], or one for each of some experts. */
export interface MatrixShape {
  readonly type: GgmlType;
  readonly rows: number;
  readonly cols: number;
  /** @default null: no expert chooses */
  readonly experts?: number | null;
}

/** Values of a block of the formats that {@link isFaulty} is about. */
const BLOCK = 32;

/**
 * Products of more than 32 rows with a matrix of one block a row are wrong in ggml's AMX (0.4.0 of its libraries): the
 * numbers that it adds up are not set first.
 */
const isFaulty = (buffer: string, { type, cols }: MatrixShape): boolean =>
  buffer === 'AMX' && cols === BLOCK && blockLength(type) === BLOCK;

/** Empty buffers, which stand for their type. */
const samples = new WeakMap<Ggml, readonly Pointer[]>();

function samplesOf(ggml: Ggml): readonly Pointer[] {
  let found = samples.get(ggml);
  if (!found) {
    found = ggml.fastBuffers.map(({ type }) => ggml.ggml_backend_buft_alloc_buffer(type, 0));
    samples.set(ggml, found);
  }
  return found;
}

/** Asks about a product with a matrix of this shape, of which only the description is made. */
export function askProduct<T>(
  ggml: Ggml,
  { type, rows, cols, experts = null }: MatrixShape,
  ask: (product: Pointer, weights: Pointer, context: TensorContext) => T,
): T {
  const context = new TensorContext(ggml, 4);
  const number = GGML_TYPES[type];
  const { pointer } = context;
  const weights =
    experts === null
      ? ggml.ggml_new_tensor_2d(pointer, number, cols, rows)
      : ggml.ggml_new_tensor_3d(pointer, number, cols, rows, experts);
  const x = ggml.ggml_new_tensor_3d(pointer, GGML_TYPES.f32, cols, 1, 1);
  const product =
    experts === null
      ? ggml.ggml_mul_mat(pointer, weights, x)
      : ggml.ggml_mul_mat_id(pointer, weights, x, ggml.ggml_new_tensor_2d(pointer, GGML_TYPES.i32, 1, 1));
  const answer = ask(product, weights, context);
  context.dispose();
  return answer;
}

/** The fastest buffer type for products with the matrix; null: none is faster than plain memory. */
export function fastBufferFor(ggml: Ggml, matrix: MatrixShape): Pointer {
  const buffers = samplesOf(ggml);
  if (buffers.length === 0) return null;
  const index = askProduct(ggml, matrix, (product, weights, context) =>
    buffers.findIndex((buffer, i) => {
      if (isFaulty(ggml.fastBuffers[i].name, matrix)) return false;
      context.setBuffer(weights, buffer);
      return ggml.ggml_backend_dev_supports_op(ggml.cpu, product);
    }),
  );
  return index < 0 ? null : ggml.fastBuffers[index].type;
}
