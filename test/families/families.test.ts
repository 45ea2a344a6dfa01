import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/families/read-config.ts';
import { REFUSED_TYPES } from '../../src/families/refused-types.ts';
import { FAMILIES } from '../../src/families/table.ts';
import { WRAPPER_TYPES } from '../../src/families/wrappers.ts';
import { familyCases } from './cases.ts';
import type { FamilyReport } from './one.ts';
import { familyRecords, filesTable, missingTypes } from './records.ts';
import { refusedOptions } from './refusals.ts';
import { differences, refusedTypes, supportPage } from './table.ts';

const PAGE = join(import.meta.dirname, '../../docs/families.md');

describe('families', () => {
  it('have a golden case each', () => {
    for (const { name, cases } of familyCases()) expect(cases.length, name).toBeGreaterThan(0);
  });

  it('refuse by name what they do not compute, in the words of the page', async () => {
    const page = await readFile(PAGE, 'utf8');
    for (const { option, words } of refusedOptions()) {
      expect(page).toContain(option);
      expect(page).toContain(words);
    }
  });

  it('of types that are out of reach are refused on the page with the reason', async () => {
    expect(await readFile(PAGE, 'utf8')).toContain(refusedTypes());
    const run = new Set([...FAMILIES.flatMap(({ modelTypes }) => modelTypes), ...WRAPPER_TYPES]);
    expect(Object.keys(REFUSED_TYPES).filter((type) => run.has(type))).toEqual([]);
    for (const model_type of Object.keys(REFUSED_TYPES))
      expect(() => readConfig({ model_type })).toThrow(`not supported: ${REFUSED_TYPES[model_type]}`);
  });

  it('are all on the page, with their cases', async () => {
    const page = await readFile(PAGE, 'utf8');
    for (const { family, cases } of familyCases()) {
      for (const type of family.modelTypes) expect(page).toContain(`\`${type}\``);
      for (const folder of cases) expect(page).toContain(folder.slice(folder.lastIndexOf('/') + 1));
    }
  });
});

/** Rows that are longer than data needs, and why. */
const LONGER: Readonly<Record<string, string>> = {
  ...{ gemma3n_text: 'blocks of its own', gemma4_text: 'blocks of its own', nemotron_h: 'four kinds of layers' },
  ...{ recurrent_gemma: 'a mixer of its own', idefics: 'layers of another model between', dbrx: 'two nested configs' },
  ...{ esm: 'an encoder', nomic_bert: 'keys of two origins', modernbert: 'rotations of two types', pixtral: 'patches' },
  ...{ clvp_encoder: 'a pooled encoder' },
};

describe('the records of families', () => {
  const records = familyRecords();

  it('have at most 40 lines of code, but for those of more than data', () => {
    expect(missingTypes(records)).toEqual([]);
    const long = records.filter(({ lines }) => lines > 40).map(({ modelTypes }) => modelTypes[0]);
    expect(long.sort()).toEqual(Object.keys(LONGER).sort());
    for (const { lines, modelTypes } of records) expect(lines, modelTypes[0]).toBeLessThan(90);
  });

  it('lie in the files that docs/architecture.md names', async () => {
    const page = await readFile(join(import.meta.dirname, '../../docs/architecture.md'), 'utf8');
    expect(page).toContain(filesTable(records));
  });
});

describe('the files of the model', () => {
  it('are short, and name no family', async () => {
    const folder = join(import.meta.dirname, '../../src/model');
    const files = (await readdir(folder, { recursive: true })).filter((name) => /(?<!\.test)\.ts$/.test(name));
    const types = FAMILIES.flatMap(({ modelTypes }) => modelTypes);
    for (const file of files) {
      const text = await readFile(join(folder, file), 'utf8');
      expect(text.split('\n').length, file).toBeLessThanOrEqual(400);
      // What a family does otherwise is a value of its config: the model's code knows none by name.
      for (const type of types) expect(text, file).not.toMatch(new RegExp(`['"\`]${type}['"\`]`));
    }
  });
});

describe('the page', () => {
  const report = (error: number, int8: number): FamilyReport => ({
    name: 'llama',
    passed: true,
    cases: [{ name: 'llama', passed: true, message: '' }],
    error,
    agreement: { int8, int4: 0.5 },
  });
  const page = (error: number, int8: number) => supportPage([report(error, int8)], []);

  it('is as measured where numbers drift as they may', () => {
    expect(differences(page(4e-6, 0.95), page(4e-6, 0.95))).toEqual([]);
    expect(differences(page(4e-6, 0.95), page(6e-6, 0.92))).toEqual([]);
    expect(differences(page(4e-6, 0.95), page(1e-6, 0.95))).toEqual([]);
  });

  it('is not where they do not', () => {
    expect(differences(page(4e-6, 0.95), page(9e-5, 0.95))).toEqual([expect.stringMatching(/^line \d+: .*2e−4/)]);
    expect(differences(page(4e-6, 0.95), page(4e-6, 0.8))).toHaveLength(1);
    expect(differences('', page(4e-6, 0.95)).length).toBeGreaterThan(5);
    const more = supportPage([{ ...report(4e-6, 0.95), cases: [] }], []);
    expect(differences(page(4e-6, 0.95), more)).toHaveLength(1);
  });
});
