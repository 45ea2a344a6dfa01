/**
 * @file ggml's element types.
 */

/** Numbers of `enum ggml_type`. */
export const GGML_TYPES = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q2_k: 10,
  q3_k: 11,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  iq4_nl: 20,
  i32: 26,
  i64: 27,
  bf16: 30,
  mxfp4: 39,
} as const;
export type GgmlType = keyof typeof GGML_TYPES;

/** Values and bytes of one block. */
const BLOCKS: Readonly<Record<GgmlType, readonly [values: number, bytes: number]>> = {
  f32: [1, 4],
  f16: [1, 2],
  q4_0: [32, 18],
  q4_1: [32, 20],
  q5_0: [32, 22],
  q5_1: [32, 24],
  q8_0: [32, 34],
  q2_k: [256, 84],
  q3_k: [256, 110],
  q4_k: [256, 144],
  q5_k: [256, 176],
  q6_k: [256, 210],
  iq4_nl: [32, 18],
  i32: [1, 4],
  i64: [1, 8],
  bf16: [1, 2],
  mxfp4: [32, 17],
};

/** Values that share a block: a row's length is a multiple of it. */
export const blockLength = (type: GgmlType): number => BLOCKS[type][0];

/** Bytes of `count` values, which fill whole blocks. */
export function rowBytes(type: GgmlType, count: number): number {
  const [values, bytes] = BLOCKS[type];
  return (count / values) * bytes;
}
