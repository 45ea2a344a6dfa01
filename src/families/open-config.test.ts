import { expect, it } from 'vitest';
import { CASES, configJson } from '../../test/support/family-cases.ts';
import { COMMON_FAMILIES, openConfig } from './open-config.ts';
import { readConfig } from './read-config.ts';
import { FAMILIES } from './table.ts';
import { WRAPPER_TYPES } from './wrappers.ts';

it('reads what readConfig reads', async () => {
  for (const name of CASES) {
    const json = configJson(name);
    expect((await openConfig(json, 'config.json')).config, name).toEqual(readConfig(json).config);
  }
  await expect(openConfig({ model_type: 'nonesuch' }, 'x')).rejects.toThrow(/not a known family/);
  const llama = configJson('llama');
  await expect(openConfig(llama, 'x', 'vision')).rejects.toThrow(/has no parts/);
  await expect(openConfig({ ...llama, strange: 3 }, 'x')).rejects.toThrow(
    /x: strange = 3: not known to the family llama/,
  );
});

it('has families of the table that hold no other models', () => {
  for (const family of COMMON_FAMILIES) {
    expect(FAMILIES).toContain(family);
    for (const type of family.modelTypes) {
      expect(WRAPPER_TYPES).not.toContain(type);
      expect(FAMILIES.find(({ modelTypes }) => modelTypes.includes(type))).toBe(family);
    }
  }
});
