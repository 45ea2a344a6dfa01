import { expect, it } from 'vitest';
import { bytesSource, rawSafetensors } from '../../test/support/safetensors-bytes.ts';
import { seeded } from '../../test/support/seeded.ts';
import { CheckpointError } from '../util/errors.ts';
import { readSafetensors } from './safetensors.ts';

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
  switch (random(8)) {
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
    case 6:
      // Onto another tensor's bytes.
      entry.data_offsets = structuredClone(header[names[random(names.length)]]?.data_offsets ?? null);
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

/** The header's text with one of its entries written twice. */
function doubled(header: Record<string, Entry>, random: (below: number) => number): string {
  const entries = Object.entries(header).map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  entries.splice(random(entries.length + 1), 0, entries[random(entries.length)]);
  return `{${entries.join(',')}}`;
}

/** What is wrong with headers, in the words of the messages: each must come up, or it is not tested. */
const KINDS = [
  /announces a header of \d+ bytes, above the limit/,
  /announces a header of \d+ bytes, but only/,
  /too few for a safetensors file/,
  /not valid UTF-8/,
  /not valid JSON/,
  /two entries/,
  /nested deeper/,
  /has the dtype/,
  /has no dtype/,
  /not a list of non-negative integers/,
  /is too large/,
  /not two non-negative integers/,
  /before its start/,
  /but the file holds only/,
  /bytes, but .* takes/,
  /overlaps tensor/,
  /belong to no tensor/,
  /__metadata__ is not an object/,
];

it('parses or refuses 20,000 mutated files, and does nothing else', { timeout: 20_000 }, async () => {
  const random = seeded(20261124);
  let parsed = 0;
  let refused = 0;
  const met = new Set<RegExp>();
  for (let run = 0; run < 20_000; run++) {
    const { header, data } = valid(random);
    const kind = random(3);
    if (kind > 0) for (let edits = 1 + random(2); edits > 0; edits--) mutateJson(header, random);
    const twice = random(20) === 0 && Object.keys(header).length > 0;
    let file: Uint8Array = rawSafetensors(twice ? doubled(header, random) : header, data);
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
      for (const kind of KINDS) if (kind.test(error.message)) met.add(kind);
    }
  }
  // Both outcomes must occur often, or the mutations test nothing.
  expect(parsed).toBeGreaterThan(2_000);
  expect(refused).toBeGreaterThan(8_000);
  expect(KINDS.filter((kind) => !met.has(kind))).toEqual([]);
});
