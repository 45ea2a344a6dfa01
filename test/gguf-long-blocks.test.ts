/**
 * Models of many architectures in every format whose blocks are longer than 32 values. The blocks, and the values that
 * they stand for, are those of the Python package gguf.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ARCHITECTURES, keptTensors, logitsOf, ROUNDING, usualError } from './support/gguf-blocks.ts';
import { knownBlocks, writeBlockModels } from './support/long-blocks.ts';
import { tempFolder } from './support/temp-folder.ts';

const folder = await tempFolder('gguf-long-blocks');
const KNOWN = await knownBlocks();
const FORMATS = [...KNOWN.keys()];

it('there are all formats with such blocks', () => {
  expect(FORMATS).toHaveLength(17);
});

it.each(ARCHITECTURES)('blocks of %s stand for the values of another implementation, in every format', async (name) => {
  for (const [i, format] of FORMATS.entries()) {
    const path = join(folder, `${name}-${format}.gguf`);
    const floats = join(folder, `${name}-${format}-floats.gguf`);
    expect(await writeBlockModels(name, KNOWN.get(format)!, { path, format }, floats), format).toBeGreaterThan(4);
    // Most of GPT-2's are read turned around.
    expect(await keptTensors(path, floats), format).toBeGreaterThan(0);
    // Each architecture runs in some of the formats, each format in some of the architectures.
    if (i % 6 === ARCHITECTURES.indexOf(name) % 6) {
      const exact = await logitsOf(floats, 'float32', folder);
      const largest = exact.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(usualError(await logitsOf(path, 'f16', folder), exact), format).toBeLessThan(ROUNDING * largest);
    }
    await rm(path);
    await rm(floats);
  }
});
