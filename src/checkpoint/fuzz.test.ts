import { expect, it } from 'vitest';
import { bytesSource, rawSafetensors } from '../../test/support/safetensors-bytes.ts';
import { CheckpointError } from '../errors.ts';
import { readSafetensors } from './safetensors.ts';

/** Mulberry32: the same sequence on every machine. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const NUMBERS = [0, 1, -1, 0.5, 7, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 - 1, 1e308, -0, null, '4', [], {}, true];
const DTYPES = ['F64', 'F32', 'F16', 'BF16', 'I64', 'U8', 'BOOL', 'F8_E4M3', '', 'constructor', null, 4, ['F32']];

interface Entry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
}

function valid(random: (below: number) => number): { header: Record<string, Entry>; data: Uint8Array } {
  const header: Record<string, Entry> = {};
  let end = 0;
  const count = random(6);
  for (let i = 0; i < count; i++) {
    const shape = Array.from({ length: random(4) }, () => random(4));
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    header[`layer.${i}.weight`] = { dtype: random(2) ? 'F16' : 'BF16', shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  return { header, data: new Uint8Array(end) };
}

function mutateJson(header: Record<string, Entry>, random: (below: number) => number): void {
  const names = Object.keys(header);
  if (names.length === 0) return;
  const entry = header[names[random(names.length)]];
  // An earlier edit may have replaced it.
  if (typeof entry !== 'object' || entry === null) return;
  const number = NUMBERS[random(NUMBERS.length)];
  switch (random(7)) {
    case 0:
      entry.dtype = DTYPES[random(DTYPES.length)];
      break;
    case 1:
      if (Array.isArray(entry.shape)) entry.shape[random(5)] = number;
      break;
    case 2:
      if (Array.isArray(entry.data_offsets)) entry.data_offsets[random(3)] = number;
      break;
    case 3:
      entry.shape = number;
      break;
    case 4:
      entry.data_offsets = number;
      break;
    case 5:
      delete entry[(['dtype', 'shape', 'data_offsets'] as const)[random(3)]];
      break;
    default:
      Object.assign(header, { [random(2) ? '__metadata__' : names[0]]: number });
  }
}

function mutateBytes(file: Uint8Array, random: (below: number) => number): Uint8Array {
  const at = random(file.length);
  switch (random(5)) {
    case 0:
      file[at] ^= 1 << random(8);
      return file;
    case 1:
      file[at] = random(256);
      return file;
    case 2:
      return file.slice(0, at);
    case 3:
      // The length of the header.
      file[random(8)] = random(256);
      return file;
    default:
      // Swaps two bytes: digits, quotes, braces change places.
      [file[at], file[0 + random(file.length)]] = [file[random(file.length)], file[at]];
      return file;
  }
}

it('parses or refuses 20,000 mutated files, and does nothing else', { timeout: 20_000 }, async () => {
  const random = seeded(20261124);
  let parsed = 0;
  let refused = 0;
  for (let run = 0; run < 20_000; run++) {
    const { header, data } = valid(random);
    const kind = random(3);
    if (kind > 0) for (let edits = 1 + random(2); edits > 0; edits--) mutateJson(header, random);
    let file: Uint8Array = rawSafetensors(header, data);
    if (kind !== 1) for (let edits = random(4); edits > 0 && file.length > 0; edits--) file = mutateBytes(file, random);
    // A read out of bounds throws a plain Error here, and so would an allocation by a false length.
    const source = bytesSource(file, 'fuzz');
    try {
      const { tensors } = await readSafetensors(source);
      parsed++;
      for (const tensor of tensors.values()) {
        const count = tensor.shape.reduce((a, b) => a * b, 1);
        expect(count).toBeLessThanOrEqual(file.length);
        expect(await tensor.readFloats(0, count)).toHaveLength(count);
      }
      expect(source.bytesRead).toBeLessThanOrEqual(file.length);
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      expect(error.message).toMatch(/^fuzz: /);
      refused++;
    }
  }
  // Both outcomes must occur often, or the mutations test nothing.
  expect(parsed).toBeGreaterThan(2_000);
  expect(refused).toBeGreaterThan(8_000);
});
