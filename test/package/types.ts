/**
 * @file Checks the types of the installed package, and all examples of README and docs with them.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { docBlocks } from '../support/doc-blocks.ts';
import type { Project } from './project.ts';
import { type Check, command, ROOT } from './run.ts';

const SETTINGS = {
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
} as const;
// As strict as a project may be: our own declarations are a part of its check.
const STRICT = { target: 'es2022', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true };

/** @param bare a project without @types/node. */
export function compilerChecks(project: Project, bare: Project): Check[] {
  // The oldest, the current and the newest compiler that are promised.
  const pairs = [
    ['typescript-5.4', 'nodenext'],
    ['typescript', 'bundler'],
    ['typescript-7', 'nodenext'],
    ['typescript-7', 'bundler'],
  ] as const;
  const checks: Check[] = [];
  for (const [compiler, name] of pairs)
    checks.push([
      `the examples' types, ${compiler}, ${name}`,
      () => checkExamples(project, compiler, name, SETTINGS[name]),
    ]);
  checks.push(['the package’s types without @types/node', () => checkBare(bare)]);
  return checks;
}

async function checkExamples(project: Project, compiler: string, name: string, settings: object): Promise<void> {
  const pages = [
    'README.md',
    ...(await readdir(join(ROOT, 'docs'))).filter((f) => f.endsWith('.md')).map((f) => `docs/${f}`),
  ];
  const files: string[] = [];
  for (const page of pages)
    for (const block of await docBlocks(ROOT, page)) {
      if (block.language !== 'ts') continue;
      const file = `${block.name.replace(/[:/]/g, '-')}.ts`;
      // A module of its own, also where it imports nothing.
      await writeFile(join(project.folder, file), `${block.code}\nexport {};\n`);
      files.push(file);
    }
  await compile(project, compiler, `${name}.json`, { ...STRICT, ...settings, types: ['node'] }, files);
}

async function checkBare(project: Project): Promise<void> {
  const names = ['keyhold', 'keyhold/eval', 'keyhold/policies', 'keyhold/adapters', 'keyhold/checkpoint'];
  const code = names.map((name, i) => `import * as m${i} from '${name}';\nexport { m${i} };\n`).join('');
  await writeFile(join(project.folder, 'bare.mts'), code);
  await compile(
    project,
    'typescript',
    'bare.json',
    { ...STRICT, ...SETTINGS.nodenext, exactOptionalPropertyTypes: true, types: [] },
    ['bare.mts'],
  );
}

async function compile(
  project: Project,
  compiler: string,
  config: string,
  compilerOptions: object,
  files: readonly string[],
): Promise<void> {
  await writeFile(join(project.folder, config), JSON.stringify({ compilerOptions, files }));
  const tsc = join(ROOT, 'node_modules', compiler, 'bin/tsc');
  await command(process.execPath, [tsc, '-p', config], project.folder);
}
