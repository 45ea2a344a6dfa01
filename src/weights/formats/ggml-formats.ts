/**
 * @file ggml's formats of matrices by their names, the bytes of their blocks, and which one a matrix gets.
 */

/** Values and bytes of one block. */
export const GGML_BLOCKS = {
  f16: [1, 2],
  bf16: [1, 2],
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
  iq4_xs: [256, 136],
  mxfp4: [32, 17],
} as const satisfies Readonly<Record<string, readonly [values: number, bytes: number]>>;

/**
 * Up to so many parameters `auto` is f16 on ggml. Products with blocks round activations to 8 bits, which small models
 * do not bear: the divergence of SmolLM2-135M from exact logits is 0.007 in its file's blocks and 0.000006 in f16, and
 * steps take as long. Blocks that a checkpoint has are kept where f16 is meant, and activations are multiplied in two
 * terms (0.000008).
 */
export const HALF_PARAMETERS = 200e6;

/** A format that matrices can be quantized to. */
export type GgmlFormat = keyof typeof GGML_BLOCKS;
export const GGML_FORMATS = Object.keys(GGML_BLOCKS) as readonly GgmlFormat[];

export const isGgmlFormat = (name: string): name is GgmlFormat => Object.hasOwn(GGML_BLOCKS, name);

/** Mean bits of a value. */
export function bitsOf(format: GgmlFormat): number {
  const [values, bytes] = GGML_BLOCKS[format];
  return (8 * bytes) / values;
}

/** In place of blocks of 256 where rows do not divide into them: as llama.cpp has it. */
const NARROWER: Readonly<Partial<Record<GgmlFormat, GgmlFormat>>> = {
  q2_k: 'iq4_nl',
  q3_k: 'iq4_nl',
  iq4_xs: 'iq4_nl',
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
};

/** The format, or the nearest one whose blocks rows of `cols` values divide into; null: there is none. */
export function fittingFormat(format: GgmlFormat, cols: number): GgmlFormat | null {
  if (cols % GGML_BLOCKS[format][0] === 0) return format;
  const narrower = NARROWER[format];
  return narrower && cols % GGML_BLOCKS[narrower][0] === 0 ? narrower : null;
}

/** A matrix of a model, as the choice of its format sees it. */
export interface MatrixInfo {
  /** Of the parameter, e.g. `h.0.attn.qkv.weight`. */
  readonly name: string;
  readonly role: 'linear' | 'embedding';
  readonly rows: number;
  readonly cols: number;
}

/** Whether errors of the matrix reach every token's logits at first hand: embeddings, and the head. */
export const isTable = ({ name, role }: Pick<MatrixInfo, 'name' | 'role'>): boolean =>
  role === 'embedding' || name === 'lm_head.weight';

/**
 * The format of one matrix where the model's is `format`; null: float32. Embedding and head have 8 bits where the
 * others have fewer: with the embedding in q4_0, too, SmolLM2-135M's perplexity rises by 47 % instead of 30 %.
 */
export function ggmlFormatOf(format: GgmlFormat, matrix: MatrixInfo): GgmlFormat | null {
  const wanted = isTable(matrix) && bitsOf(format) < bitsOf('q8_0') ? 'q8_0' : format;
  return fittingFormat(wanted, matrix.cols);
}
