/**
 * @file ggml's element types.
 */
import { GGML_BLOCKS } from '../../../weights/formats/ggml-formats.ts';

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
  iq2_xxs: 16,
  iq2_xs: 17,
  iq3_xxs: 18,
  iq1_s: 19,
  iq4_nl: 20,
  iq3_s: 21,
  iq2_s: 22,
  iq4_xs: 23,
  i32: 26,
  i64: 27,
  iq1_m: 29,
  bf16: 30,
  tq1_0: 34,
  tq2_0: 35,
  mxfp4: 39,
} as const;
export type GgmlType = keyof typeof GGML_TYPES;

/** Values and bytes of one block. */
const BLOCKS: Readonly<Record<GgmlType, readonly [values: number, bytes: number]>> = {
  ...GGML_BLOCKS,
  f32: [1, 4],
  iq1_s: [256, 50],
  iq1_m: [256, 56],
  iq2_xxs: [256, 66],
  iq2_xs: [256, 74],
  iq2_s: [256, 82],
  iq3_xxs: [256, 98],
  iq3_s: [256, 110],
  tq1_0: [256, 54],
  tq2_0: [256, 66],
  i32: [1, 4],
  i64: [1, 8],
};

/** Values that share a block: a row's length is a multiple of it. */
export const blockLength = (type: GgmlType): number => BLOCKS[type][0];

/** Bytes of `count` values, which fill whole blocks. */
export function rowBytes(type: GgmlType, count: number): number {
  const [values, bytes] = BLOCKS[type];
  return (count / values) * bytes;
}
