/**
 * @file Models on a Vulkan device. Runs where $KEYHOLD_GPU_PACKAGES names a folder in which the package with the Vulkan
 * library is installed, and the system has a device for it. Debian's software device will do: apt install
 * libvulkan1 mesa-vulkan-drivers, of Mesa 25 or newer (Debian 12: -t bookworm-backports). Mesa 22.3.6 ends the process.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const isReady = Boolean(process.env.KEYHOLD_GPU_PACKAGES);
if (!isReady) console.log('Tests on a Vulkan device are skipped: KEYHOLD_GPU_PACKAGES is not set.');

/** Drivers of GPUs are not unloaded, and some end the process: each case has a process of its own. */
async function node(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const all = { GGML_VK_VISIBLE_DEVICES: '0', ...process.env, ...env };
  return run(process.execPath, ['--import', 'tsx', ...args], { env: all, maxBuffer: 1e8 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

const FAMILIES = ['llama', 'gemma2', 'mistral', 'mixtral', 'cohere2', 'qwen3', 'phi3', 'gpt2', 'olmo2', 'stablelm'];
const POLICIES = ['llama-h2o-tiny', 'llama-lastrec-single'];

/** All cases in one process: shaders are compiled once. */
async function parity() {
  const args = ['test/parity/main.ts', '--device', 'vulkan', '--models', 'test/fixtures/families', '--json'];
  const families = FAMILIES.map((name) => `test/fixtures/families/${name}`);
  const policies = POLICIES.map((name) => `test/fixtures/policies/${name}.json`);
  const { stdout, stderr } = await node([...args, ...families, ...policies]);
  expect(stdout, stderr).toMatch(/^\[/);
  return JSON.parse(stdout) as { name: string; passed: boolean; message: string }[];
}

describe.skipIf(!isReady)('a Vulkan device', () => {
  it('gives the golden logits of ten families, and evicts as h2o and lastrec say', async () => {
    const reports = await parity();
    expect(reports.filter(({ passed }) => !passed)).toEqual([]);
    expect(reports.map(({ name }) => name)).toEqual([...FAMILIES, ...POLICIES.map((name) => `${name}.json`)]);
  });

  it.each(['q4_0', 'q8_0', 'q4_k'])(
    'computes batches of ragged rows with weights in %s, under eviction',
    async (weights) => {
      const { code, stdout, stderr } = await node(['test/support/device-batch.ts', weights]);
      expect(code, stderr).toBe(0);
      const { device, cpu } = JSON.parse(stdout) as { device: number[]; cpu: number[] };
      expect(device).toHaveLength(5);
      // Of the size of the logits: the CPU rounds activations to 8 bits, the device does not.
      for (const [step, error] of device.entries()) expect(error).toBeLessThan(1.25 * cpu[step] + 0.02);
    },
    300_000,
  );

  it('reads the slots of groups that differ in parts, as the CPU does', async () => {
    const { code, stdout, stderr } = await node(['test/support/device-routed.ts']);
    expect(code, stderr).toBe(0);
    const furthest = JSON.parse(stdout) as number[];
    expect(furthest).toHaveLength(8);
    expect(Math.max(...furthest)).toBeLessThan(2e-4);
  }, 300_000);

  it('is listed by keyhold doctor', async () => {
    const { stdout } = await node(['src/cli/main.ts', 'doctor', '--json']);
    const { engines } = JSON.parse(stdout) as { engines: { name: string; devices?: { kind: string }[] }[] };
    expect(engines.find(({ name }) => name === 'ggml')?.devices).toEqual(
      expect.arrayContaining([expect.objectContaining({ kind: 'vulkan' })]),
    );
  });
});

describe('the option device', () => {
  it('says which package is missing, or that there is no build', async () => {
    const { code, stderr } = await node(
      ['src/cli/main.ts', 'generate', '--model', 'models/tiny', '--device', 'cuda', 'A', '-n', '1'],
      { KEYHOLD_GPU_PACKAGES: '' },
    );
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/npm install @node-llama-cpp\/.*cuda@|there is no cuda build for/);
  });

  it('refuses a name that no device has, and another device than the CPU for the engine onnx', async () => {
    const wrong = await node(['src/cli/main.ts', 'generate', '--model', 'models/tiny', 'A', '-n', '1'], {
      KEYHOLD_DEVICE: 'tpu',
    });
    expect(wrong.stderr).toMatch(/KEYHOLD_DEVICE is "tpu"; there are cpu, gpu, vulkan, metal, cuda/);
    const args = ['generate', '--model', 'models/tiny', '--engine', 'onnx', '--device', 'gpu', 'A', '-n', '1'];
    expect((await node(['src/cli/main.ts', ...args])).stderr).toMatch(/onnx engine computes on the CPU only/);
  });
});
