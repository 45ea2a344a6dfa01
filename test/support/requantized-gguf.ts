/**
 * @file A copy of a GGUF file with its matrices in other formats, as `llama-quantize` makes it.
 */
import { open } from 'node:fs/promises';
import { ggmlCodec } from '../../src/backends/ggml/weights/weight-codec.ts';
import { openFileSource } from '../../src/checkpoint/file-source-node.ts';
import { tensorType } from '../../src/checkpoint/gguf/blocks/block-formats.ts';
import { readGgufHeader } from '../../src/checkpoint/gguf/header.ts';
import { storedTensor } from '../../src/checkpoint/gguf/tensors.ts';
import { fittingFormat, type GgmlFormat } from '../../src/weights/formats/ggml-formats.ts';

/** @param formatOf of a matrix; null: it stays as it is. */
export async function requantizedGguf(
  from: string,
  to: string,
  formatOf: (name: string, cols: number) => GgmlFormat | null,
): Promise<void> {
  const source = await openFileSource(from);
  const { tensors, bytes } = await readGgufHeader(source);
  const file = await open(to, 'w');
  try {
    const infos = tensors.map((info) => {
      const format = info.shape.length > 1 ? formatOf(info.name, info.shape[info.shape.length - 1]) : null;
      const type = format ? tensorType(format) : info.type;
      const elements = info.shape.reduce((a, b) => a * b, 1);
      return { info, format, type, length: (elements / type.blockLength) * type.blockBytes };
    });
    const table = Buffer.concat(tableOf(infos));
    const old = tensors.reduce((sum, { name, shape }) => sum + 24 + Buffer.byteLength(name) + 8 * shape.length, 0);
    const header = Buffer.concat([bytes.subarray(0, bytes.length - old), table]);
    let at = padded(header.length);
    await file.write(header, 0, header.length, 0);
    for (const { info, format, length } of infos) {
      await file.write(format ? await encoded(info, format) : await source.read(info.offset, length), 0, length, at);
      at += padded(length);
    }
    await file.truncate(at);

    async function encoded(info: (typeof tensors)[number], format: GgmlFormat): Promise<Uint8Array> {
      const cols = info.shape[info.shape.length - 1];
      const rows = info.shape.reduce((a, b) => a * b, 1) / cols;
      const values = await storedTensor(source, info).readFloats(0, rows * cols);
      return (
        await ggmlCodec.encode({ name: info.name, shape: [rows, cols], role: 'linear', format }, values, rows, cols)
      )[0];
    }
  } finally {
    await file.close();
    await source.close();
  }
}

const padded = (length: number): number => Math.ceil(length / 32) * 32;

function tableOf(
  infos: readonly { info: { name: string; shape: readonly number[] }; type: { number: number }; length: number }[],
): Buffer[] {
  let offset = 0;
  return infos.map(({ info: { name, shape }, type, length }) => {
    const text = Buffer.from(name);
    const out = Buffer.alloc(24 + text.length + 8 * shape.length);
    let at = out.writeBigUInt64LE(BigInt(text.length));
    at += text.copy(out, at);
    at = out.writeUInt32LE(shape.length, at);
    for (const size of [...shape].reverse()) at = out.writeBigUInt64LE(BigInt(size), at);
    at = out.writeUInt32LE(type.number, at);
    out.writeBigUInt64LE(BigInt(offset), at);
    offset += padded(length);
    return out;
  });
}

/** The format of a matrix in files of Q4_K_M or Q5_K_M, and the one that is taken where rows are no multiple of 256. */
export function kM(most: 'q4_k' | 'q5_k', layers: number): (name: string, cols: number) => GgmlFormat | null {
  return (name, cols) => {
    const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
    const eighth = Math.floor(layers / 8);
    const isFine = layer < eighth || layer >= 7 * eighth || (layer - eighth) % 3 === 2;
    const six = /token_embd|output\.weight/.test(name) || (isFine && /attn_v|ffn_down/.test(name));
    return fittingFormat(six ? 'q6_k' : most, cols);
  };
}
