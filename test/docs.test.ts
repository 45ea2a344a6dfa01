/**
 * Runs the examples of README, docs and TSDoc against the sources, as a reader would: in a folder with models/ and test/ in
 * it, with a hub at hand (of this machine) that has the models that the docs name.
 */
import { access, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { transform } from 'esbuild';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createProgram } from '../src/cli/program.ts';
import { type RunningServer, serve } from '../src/exports/server.ts';
import { POLICIES } from '../src/kvcache/policies.ts';
import type { LanguageModel } from '../src/node.ts';
import { testIo } from './support/cli.ts';
import { type DocBlock, docBlocks } from './support/doc-blocks.ts';
import { ENTRANCES, ExampleFolder, type Outcome, ROOT } from './support/example-folder.ts';
import { startHubOf } from './support/hub-models.ts';
import type { HubServer } from './support/hub-server.ts';
import { loadChatModel, servedModel } from './support/served.ts';

const FILES = [
  'README.md',
  'CONTRIBUTING.md',
  ...(await readdir(join(ROOT, 'docs'))).filter(isPage).map((f) => `docs/${f}`),
];
/** Ends the names of examples while their types are checked. */
const EXAMPLE = '.example.ts';
const BLOCKS = (
  await Promise.all([...FILES, ...(await sourcesWithExamples())].map((file) => docBlocks(ROOT, file)))
).flat();
function isPage(file: string): boolean {
  return file.endsWith('.md');
}
async function sourcesWithExamples(): Promise<string[]> {
  const files = (await readdir(join(ROOT, 'src'), { recursive: true })).filter((file) => file.endsWith('.ts'));
  const texts = await Promise.all(files.map((file) => readFile(join(ROOT, 'src', file), 'utf8')));
  return files.filter((_, i) => /^ +\* @example$/m.test(texts[i])).map((file) => `src/${file}`);
}

/** The model of most examples, and the address at which clients of the pages look for it. */
const MODEL = 'Qwen/Qwen3-0.6B';
const ADDRESS = 'http://127.0.0.1:8080';

let hub: HubServer;
let folder: ExampleFolder;
let model: LanguageModel;
let server: RunningServer;
beforeAll(async () => {
  hub = await startHubOf(MODEL, 'HuggingFaceTB/SmolLM2-360M-Instruct');
  folder = await ExampleFolder.create({ HF_ENDPOINT: hub.endpoint });
  await folder.install(packagesOf(BLOCKS.filter(({ language }) => language === 'js')));
  model = await loadChatModel();
  server = await serve({ models: [servedModel(model, { id: MODEL }).one], port: 0 });
});
afterAll(async () => {
  await server.close();
  await model.dispose();
  await hub.close();
  await folder.remove();
});

/** What modules import besides Keyhold and Node. */
function packagesOf(blocks: readonly DocBlock[]): Set<string> {
  const imported = blocks.flatMap(({ code }) =>
    [...code.matchAll(/ from '((?:@[^/']+\/)?[^/'.:]+)(?=['/])/g)].map(([, name]) => name),
  );
  return new Set(imported.filter((name) => name !== 'keyhold'));
}

const runExample = ({ language, code }: DocBlock): Promise<Outcome> => {
  if (language === 'sh') return folder.runShell(code);
  const reached = code.replaceAll(ADDRESS, server.url);
  return folder.runModule(language === 'ts' ? 'example.mts' : 'example.mjs', reached);
};

describe('examples', () => {
  it('are there, and nearly all are run', () => {
    for (const [language, least] of [
      ['ts', 40],
      ['js', 5],
      ['sh', 20],
    ] as const)
      expect(BLOCKS.filter((block) => block.language === language).length).toBeGreaterThan(least);
    // One of them needs a browser; test/web runs the same calls in Chromium.
    expect(BLOCKS.filter(({ notRun }) => notRun).length).toBeLessThan(7);
  });

  it('are right in their types', () => {
    const program = checkedProgram(BLOCKS.filter(({ language }) => language === 'ts'));
    // The sources have been checked before.
    const examples = program.getSourceFiles().filter(({ fileName }) => fileName.endsWith(EXAMPLE));
    expect(examples.length).toBeGreaterThan(20);
    const diagnostics = examples.flatMap((file) => ts.getPreEmitDiagnostics(program, file));
    const problems = diagnostics.map(({ file, start, messageText }) => {
      const line = file ? file.getLineAndCharacterOfPosition(start!).line + 1 : 0;
      return `${file?.fileName}, line ${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
    });
    expect(problems).toEqual([]);
  });

  it('are JavaScript, unless they say that they are TypeScript', async () => {
    // Who copies an example into a .js file gets a syntax error of the first type in it.
    const plain = BLOCKS.filter(({ language, code }) => language === 'ts' && !code.startsWith('// TypeScript\n'));
    for (const { name, code } of plain) await expect(transform(code, { loader: 'js' }), name).resolves.toBeDefined();
  });

  const run = BLOCKS.filter(({ notRun }) => notRun === undefined);
  it.each(run)('$name', async (block) => {
    const { code, output } = await runExample(block);
    expect(code, output).toBe(0);
  });

  it('start no server with npx that they end by its id: a signal would end npx only', () => {
    const shell = BLOCKS.filter(({ language }) => language === 'sh');
    expect(shell.length).toBeGreaterThan(10);
    for (const { name, code } of shell) expect(code, name).not.toMatch(/\bnpx\b.*[^&]&\s*(#.*)?$/m);
  });

  it('of npm scripts name scripts that there are', async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as { scripts: object };
    for (const file of FILES)
      for (const [, name] of (await readFile(join(ROOT, file), 'utf8')).matchAll(/npm run ([\w:-]+)/g))
        expect(Object.keys(scripts), file).toContain(name);
  });
});

describe('README.md', () => {
  it('has the two commands that people and .ci/run look for', async () => {
    const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
    expect(readme).toMatch(/^ {4}npm install && npm start$/m);
    expect(readme).toMatch(/^ {4}npm install && npm test$/m);
  });

  it('has a first program of eight lines at most', () => {
    const first = BLOCKS.find(({ name, language }) => name.startsWith('README.md') && language === 'ts')!;
    expect(first.code.split('\n').length).toBeLessThanOrEqual(8);
  });

  it('lists all policies', async () => {
    const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
    for (const name of Object.keys(POLICIES)) expect(readme).toContain(`\`${name}\``);
  });
});

describe('pages', () => {
  it('link to files and headings that there are', async () => {
    for (const file of FILES) {
      const text = await readFile(join(ROOT, file), 'utf8');
      for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(target)) continue;
        const [path, anchor] = target.split('#');
        const linked = path === '' ? join(ROOT, file) : join(ROOT, dirname(file), path);
        await expect(access(linked), `${file}: ${target}`).resolves.toBeUndefined();
        if (anchor !== undefined)
          expect(headings(await readFile(linked, 'utf8')), `${file}: ${target}`).toContain(anchor);
      }
    }
  });

  it('name every option of the command', async () => {
    const pages = (await Promise.all(FILES.map((file) => readFile(join(ROOT, file), 'utf8')))).join('\n');
    const flags = allCommands().flatMap((command) => command.options.map(({ long }) => long!));
    expect(flags.filter((flag) => !pages.includes(flag) && flag !== '--version')).toEqual([]);
  });

  it('name no option that there is not', async () => {
    const known = new Set(allCommands().flatMap((command) => command.options.map(({ long }) => long!)));
    for (const { name, code, language } of BLOCKS) {
      if (language !== 'sh') continue;
      for (const line of code.split('\n').filter((text) => text.includes('keyhold ')))
        for (const [flag] of line.matchAll(/(?<=\s)--[a-z-]+/g)) expect([...known, '--help'], name).toContain(flag);
    }
  });
});

/** The program, its commands, and theirs. */
function allCommands(): Command[] {
  const within = (command: Command): Command[] => [command, ...command.commands.flatMap(within)];
  return within(createProgram(testIo()));
}

/** As GitHub makes anchors of headings. */
function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

/** All examples in one program, each a module of its own, compiled as strictly as the sources are. */
function checkedProgram(blocks: readonly DocBlock[]): ts.Program {
  const config = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, ROOT);
  const paths = Object.fromEntries(Object.entries(ENTRANCES).map(([name, path]) => [name, [join(ROOT, path)]]));
  // Beside the sources, so that packages are found; they exist in memory only.
  const sources = new Map(blocks.map(({ name, code }) => [join(ROOT, name.replace(/[:/]/g, '-') + EXAMPLE), code]));
  const host = ts.createCompilerHost({ ...options, paths });
  const { readFile: read, fileExists: exists, getSourceFile } = host;
  host.readFile = (path) => sources.get(path) ?? read.call(host, path);
  host.fileExists = (path) => sources.has(path) || exists.call(host, path);
  host.getSourceFile = (path, ...rest) => {
    const code = sources.get(path);
    return code === undefined ? getSourceFile.call(host, path, ...rest) : ts.createSourceFile(path, code, rest[0]);
  };
  return ts.createProgram({ rootNames: [...sources.keys()], options: { ...options, paths }, host });
}
