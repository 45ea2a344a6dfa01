/**
 * Models of many architectures in every format of blocks of 32: the blocks of queries, of fused tensors and of experts
 * move with their rows. Values of blocks are those of the Python package gguf
 * (`src/checkpoint/gguf/blocks/dequantize.test.ts`).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fittingFormat, type GgmlFormat } from '../src/weights/formats/ggml-formats.ts';
import { LOGIT_TOLERANCE, largestError } from './parity/case.ts';
import { floatGguf } from './support/changed-gguf.ts';
import { ARCHITECTURES, keptTensors, logitsOf, ROUNDING, usualError } from './support/gguf-blocks.ts';
import { requantizedGguf } from './support/requantized-gguf.ts';
import { tempFolder } from './support/temp-folder.ts';

const MODELS = join(import.meta.dirname, 'fixtures/gguf/models');
const FORMATS: readonly GgmlFormat[] = ['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'iq4_nl', 'mxfp4'];

describe('blocks of a GGUF file', async () => {
  const folder = await tempFolder('gguf-blocks');

  it.each(ARCHITECTURES)('of %s stand for the values that they are read as, in every format', async (name) => {
    const plain = await logitsOf(join(MODELS, `${name}.gguf`), 'float32', folder);
    for (const format of FORMATS) {
      const path = join(folder, `${name}-${format}.gguf`);
      let made = 0;
      await requantizedGguf(join(MODELS, `${name}.gguf`), path, (tensor, cols) => {
        if (/norm|_gate_inp|conv|ssm_[ad]\b|_bias|sinks/.test(tensor) || fittingFormat(format, cols) !== format)
          return null;
        made++;
        return format;
      });
      expect(made, format).toBeGreaterThan(4);
      const floats = join(folder, `${name}-${format}-floats.gguf`);
      await writeFile(floats, await floatGguf(new Uint8Array(await readFile(path))));
      // Most of GPT-2's are read turned around.
      expect(await keptTensors(path, floats), format).toBeGreaterThan(1);
    }
    // Each architecture runs in one of the formats.
    const format = FORMATS[ARCHITECTURES.indexOf(name) % FORMATS.length];
    const path = join(folder, `${name}-${format}.gguf`);
    const exact = await logitsOf(path, 'float32', folder);
    const floats = await logitsOf(join(folder, `${name}-${format}-floats.gguf`), 'float32', folder);
    expect(largestError(exact, floats)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    expect(largestError(exact, plain)).toBeGreaterThan(0);
    const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(usualError(await logitsOf(path, 'f16', folder), exact)).toBeLessThan(ROUNDING * largest);
  });
});
