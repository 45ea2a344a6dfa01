/**
 * @file Packs a release, installs it into empty projects as a user does, and uses it there: `npm run check:package`.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packPlain, packRelease } from '../../scripts/pack.ts';
import { startHubOf } from '../support/hub-models.ts';
import { checkContents } from './contents.ts';
import { gateChecks } from './gates.ts';
import { Project } from './project.ts';
import { type Registry, startRegistry } from './registry.ts';
import { type Check, command, ROOT, runChecks } from './run.ts';
import { checkSize } from './size.ts';
import { compilerChecks } from './types.ts';

/** The small model has no chat template: the call must come as far as that. */
const AI_SDK = `
import { generateText } from 'ai';
import { loadModel } from 'keyhold';
import { aiSdkModel } from 'keyhold/ai-sdk';

const model = await loadModel();
const told = await generateText({ model: aiSdkModel(model), prompt: 'And' }).catch((error) => error.message);
if (!/no chat template/.test(told)) throw new Error('unexpected: ' + told);
await model.dispose();
`;
/** The thread is a file of its own. */
const IN_WORKER = `
import { loadModelInWorker } from 'keyhold';

const model = await loadModelInWorker();
const { tokens } = await model.generate('In the', { maxNewTokens: 2 }).result();
if (tokens.length === 0) throw new Error('no tokens');
await model.dispose();
`;
const work = await mkdtemp(join(tmpdir(), 'keyhold-package-'));
const hub = await startHubOf('Qwen/Qwen3-0.6B', 'HuggingFaceTB/SmolLM2-360M-Instruct');
let registry: Registry | undefined;
try {
  await mkdir(join(work, 'release'));
  const plain = packPlain(work);
  const release = packRelease(plain, join(work, 'release'));
  const { tarball } = release.main;
  registry = await startRegistry([...release.gates, release.main].map((packed) => packed.tarball));
  const esm = new Project(join(work, 'esm'), 'keyhold', registry.url, hub.endpoint);
  const cjs = new Project(join(work, 'cjs'), plain, registry.url, hub.endpoint);
  const bin = (name: string) => join(ROOT, 'node_modules/.bin', name);
  const checks: Check[] = [
    ['the tarball holds what its pages name, and nothing else', () => checkContents(tarball)],
    ['publint', () => command(bin('publint'), ['run', tarball, '--strict'], ROOT)],
    [
      'attw',
      () =>
        command(
          bin('attw'),
          [tarball, '--profile', 'esm-only', '--no-color', '--exclude-entrypoints', './models/*'],
          ROOT,
        ),
    ],
    ['an ESM project', () => esm.install('module', ['@types/node@20.19.43'])],
    ['the examples of README', () => esm.runExamples('README.md')],
    ['a model in a worker', () => esm.run('worker.mjs', IN_WORKER)],
    ['keyhold/ai-sdk with the AI SDK', () => esm.runWith(['ai@6.0.326'], 'ai-sdk.mjs', AI_SDK)],
    ['a CommonJS project, from a file', () => cjs.install('commonjs')],
    ['the size of an installation', () => checkSize(join(cjs.folder, 'node_modules'))],
    ...gateChecks(plain, release, work, registry.url),
    [
      'require()',
      () =>
        cjs.run(
          'main.cjs',
          "const { loadModel } = require('keyhold');\n" +
            "const { perplexity } = require('keyhold/eval');\n" +
            "require('keyhold/policies'); require('keyhold/adapters'); require('keyhold/checkpoint');\n" +
            'loadModel().then(async (model) => {\n' +
            "  const { perplexity: value } = await perplexity(model, 'In the beginning God created the heaven.');\n" +
            "  if (!(value > 1)) throw new Error('perplexity ' + value);\n" +
            '  await model.dispose();\n' +
            '});\n',
        ),
    ],
    ...compilerChecks(esm, cjs),
  ];
  process.exitCode = (await runChecks(checks)) === 0 ? 0 : 1;
} finally {
  await registry?.close();
  await hub.close();
  await rm(work, { recursive: true, force: true });
}
