import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { llamaLora, matrix, writeTestAdapter } from '../../../test/support/adapters.ts';
import { keyhold } from '../../../test/support/cli.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { openCheckpoint } from '../../load/load-model-node.ts';
import { SMALL_MODEL } from '../input/options.ts';

const base = await tempFolder('cli-merge');
const MODEL = caseFolder('llama');
let lora: string;
beforeAll(async () => {
  vi.stubEnv('KEYHOLD_CACHE', join(base, 'cache'));
  lora = await writeTestAdapter(join(base, 'lora'), llamaLora(1));
});

describe('keyhold merge', () => {
  it('writes a folder, and prints it', async () => {
    const out = join(base, 'merged');
    const { code, stdout, stderr } = await keyhold(['merge', '-m', MODEL, '--adapter', lora, out]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${out}\n` });
    expect(stderr).toMatch(/^21 tensors, 80\.8 kB, in .*\n$/);
    expect(await readdir(out)).toEqual(['config.json', 'model.safetensors']);
  });

  it('--json, weights, and files of a size', async () => {
    const out = join(base, 'sharded');
    const args = ['merge', '-m', MODEL, '--adapter', `${lora}=0.5`, '--adapter', `${lora}=-1`, '--shard-size', '2e-5'];
    const { code, stdout } = await keyhold([...args, '--json', '-q', out]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ folder: out, bytes: 80_768, tensors: 21 });
    expect(await readdir(out)).toHaveLength(7);
  });

  it('says what is wrong', async () => {
    const error = async (...args: string[]) => {
      const { code, stdout, stderr } = await keyhold(['merge', ...args]);
      expect(stdout).toBe('');
      return `${code} ${stderr}`;
    };
    const out = join(base, 'never');
    expect(await error(out)).toMatch(/^2 error: name what to merge with --adapter/);
    expect(await error('-m', MODEL, '--adapter', `${lora}=much`, out)).toMatch(/^2 .*The weight must be a number/);
    expect(await error('-m', MODEL, '--adapter', '=1', out)).toMatch(/^2 .*The path is empty/);
    expect(await error('-m', MODEL, '--adapter', join(base, 'none'), out)).toMatch(/^1 error: .*none: does not exist/);
    expect(await error('-m', MODEL, '--adapter', lora, base)).toMatch(/^1 error: .* holds files already/);
    expect(await error('-m', caseFolder('gpt2'), '--adapter', lora, out)).toMatch(/^1 error: .*does not have/);
    expect(await readdir(base)).not.toContain('never');
  });
});

describe('keyhold generate --adapter', () => {
  it('writes otherwise, merged and live alike', async () => {
    const model = await openCheckpoint(SMALL_MODEL);
    const [name, tensor] = [...model.tensors].find(([n]) => n.endsWith('layers.0.mlp.down_proj.weight'))!;
    await model.close();
    const [out, width] = tensor.shape;
    const module = `base_model.model.${name.replace('.weight', '')}`;
    const tensors = {
      [`${module}.lora_A.weight`]: matrix(2, width, 1, 0.3),
      [`${module}.lora_B.weight`]: matrix(out, 2, 2, 0.3),
    };
    const settings = { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: [name.replace('.weight', '')] };
    const path = await writeTestAdapter(join(base, 'tiny-lora'), { settings, tensors });
    const write = async (...args: string[]) => {
      const { code, stdout, stderr } = await keyhold([
        'generate',
        'And',
        '-n',
        '12',
        '-q',
        '--temperature',
        '0',
        ...args,
      ]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return stdout;
    };
    const merged = await write('--adapter', path);
    expect(merged).toBe(await write('--adapter', path, '--live-adapters'));
    expect(merged).toBe(await write('--adapter', `${path}=0.5`, '--adapter', `${path}=0.5`, '--live-adapters'));
    expect(merged).not.toBe(await write());
    expect(await write('--adapter', `${path}=0`)).toBe(await write());
  });
});
