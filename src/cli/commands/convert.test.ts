import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { llamaLora, writeTestAdapter } from '../../../test/support/adapters.ts';
import { keyhold } from '../../../test/support/cli.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { openCheckpointFolder } from '../../checkpoint/open-node.ts';

const base = await tempFolder('cli-convert');
const MODEL = caseFolder('llama');
beforeAll(() => void vi.stubEnv('KEYHOLD_CACHE', join(base, 'cache')));

/** All values of a tensor of a checkpoint. */
async function values(path: string, name: string): Promise<Float32Array> {
  const checkpoint = await openCheckpointFolder(path);
  const tensor = checkpoint.tensors.get(name)!;
  const found = await tensor.readFloats(0, tensor.shape[0] * tensor.shape[1]);
  await checkpoint.close();
  return found;
}
const UP = 'model.layers.0.self_attn.q_proj.weight';

describe('keyhold convert', () => {
  it('writes a GGUF file, and safetensors of it', async () => {
    const file = join(base, 'llama.gguf');
    const first = await keyhold(['convert', MODEL, file, '--weights', 'f32']);
    expect({ code: first.code, stdout: first.stdout }).toEqual({ code: 0, stdout: `${file}\n` });
    expect(first.stderr).toMatch(/^21 tensors, 8\d\.\d kB, in .*\n$/);
    const folder = join(base, 'back');
    const second = await keyhold(['convert', file, folder, '--weights', 'f32', '--json', '-q']);
    expect(JSON.parse(second.stdout)).toMatchObject({ path: folder, tensors: 21 });
    expect(await readdir(folder)).toEqual(['config.json', 'model.safetensors']);
    expect(await values(folder, UP)).toEqual(await values(MODEL, UP));
  });

  it('merges adapters, as keyhold merge does', async () => {
    const lora = await writeTestAdapter(join(base, 'lora'), llamaLora(1));
    const [file, folder] = [join(base, 'tuned.gguf'), join(base, 'tuned')];
    expect((await keyhold(['convert', MODEL, file, '--weights', 'f32', '--adapter', lora])).code).toBe(0);
    expect((await keyhold(['merge', '-m', MODEL, '--adapter', lora, folder])).code).toBe(0);
    const [made, merged, plain] = [await values(file, UP), await values(folder, UP), await values(MODEL, UP)];
    expect(made).toEqual(merged);
    expect(made).not.toEqual(plain);
  });

  it('inspects and merges what it wrote', async () => {
    const file = join(base, 'inspected.gguf');
    await keyhold(['convert', MODEL, file, '--weights', 'q8_0', '-q']);
    const { code, stdout } = await keyhold(['inspect', file, '--tensors']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/q_proj\.weight +q8_0 +\[32, 32\]/);
    expect(stdout).toMatch(/down_proj\.weight +f16 /);
    const lora = await writeTestAdapter(join(base, 'lora2'), llamaLora(2));
    expect((await keyhold(['merge', '-m', file, '--adapter', lora, join(base, 'merged')])).code).toBe(0);
  });

  it('says what is wrong', async () => {
    const error = async (...args: string[]) => {
      const { code, stdout, stderr } = await keyhold(['convert', ...args]);
      expect(stdout).toBe('');
      return `${code} ${stderr}`;
    };
    expect(await error(MODEL, join(base, 'x.gguf'), '--weights', 'q3')).toMatch(/^2 .*Allowed choices are f32/s);
    expect(await error(MODEL, join(base, 'x'), '--weights', 'q8_0')).toMatch(/^1 error: safetensors are written as/);
    expect(await error(MODEL, join(base, 'x.safetensors'))).toMatch(
      /^2 error: .* is named like a file: name a file that/,
    );
    expect(await error(MODEL, join(base, 'x'), '--adapter', 'a')).toMatch(/^2 error: adapters are merged/);
    expect(await error(caseFolder('jetmoe'), join(base, 'x.gguf'))).toMatch(/^1 error: .*can't be written to GGUF/);
    expect(await readdir(base)).not.toContain('x.gguf');
  });
});
