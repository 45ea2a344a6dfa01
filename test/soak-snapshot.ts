/**
 * @file `npm run soak:snapshot`: 500 processes that save a cache over the same file, again and again, are killed at
 * random moments. After each the file must be the cache that was saved last or the one before it, bit for bit, and what
 * was left half-written must not pile up.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import ts from 'typescript';
import { type LanguageModel, loadCache, loadModel, saveCache } from '../src/node.ts';
import { seeded } from './support/seeded.ts';

const KILLS = Number(process.argv[2] ?? 500);
const SEED = Number(process.argv[3] ?? 1);
const EVERY = 50;
/** Milliseconds from a process's first save to its end, at most. */
const LONGEST = 300;
/** How many half-written files there may be: one of the last kill. */
const LEFT_OVER = 1;

const ROOT = join(import.meta.dirname, '..');
const random = seeded(SEED);
const folder = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
const path = join(folder, 'saved.cache');
try {
  await using model = await loadModel(join(ROOT, 'models/tiny'), {
    generationConfig: false,
    weights: 'float32',
    cacheDir: join(folder, 'weights'),
  });
  // Two caches that differ in length, so that the file's size changes with each save, and in every number.
  const sources = [join(folder, 'even.source'), join(folder, 'odd.source')];
  const wanted: Buffer[] = [];
  for (const [i, source] of sources.entries()) {
    const cache = model.createCache({ policy: 'lastrec', cacheLength: 200 + 100 * i });
    await model.prefill(cache, model.tokenizer.encode('In the beginning God created the heaven. '.repeat(30 + 30 * i)));
    await saveCache(model, cache, source);
    wanted.push(await readFile(source));
  }
  await writeFile(join(folder, 'shape.json'), shapeOf(model));
  await compile();
  const ends = { old: 0, new: 0, between: 0 };
  let saves = 0;
  let most = 0;
  let inFile = 0;
  await saveCache(model, await loadCache(model, sources[0]), path);
  console.log(` kills     saves   while saving: old, new   between saves   left over, at most`);
  for (let n = 1; n <= KILLS; n++) {
    const { begun, ended } = await killSaver(inFile + 1, LONGEST * (random(10_000) / 10_000));
    const cache = await loadCache(model, path).catch((error: Error) => {
      throw new Error(`after kill ${n} the file can't be loaded`, { cause: error });
    });
    const bytes = Buffer.from(await model.snapshot(cache));
    const now = [begun, ended].find((save) => bytes.equals(wanted[save % 2]));
    if (now === undefined) throw new Error(`after kill ${n} the file is neither save ${ended} nor save ${begun}`);
    if (begun === ended) ends.between++;
    else ends[now === begun ? 'new' : 'old']++;
    saves += ended - inFile;
    inFile = now;
    const files = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.`));
    most = Math.max(most, files.length);
    if (files.length > LEFT_OVER) throw new Error(`after kill ${n} there are ${files.length} half-written files`);
    if (n % EVERY > 0 && n < KILLS) continue;
    console.log(
      `${String(n).padStart(6)} ${String(saves).padStart(9)}   ${`${ends.old}, ${ends.new}`.padStart(22)}   ` +
        `${String(ends.between).padStart(13)}   ${String(most).padStart(18)}`,
    );
  }
  await saveCache(model, await loadCache(model, path), path);
  const left = (await readdir(folder)).filter((name) => name.startsWith(`${basename(path)}.`));
  if (left.length > 0) throw new Error(`a save that came to its end leaves ${left.join(', ')}`);
  if (ends.old + ends.new < KILLS / 10) throw new Error('hardly any process was killed while it saved');
} finally {
  await rm(folder, { recursive: true, force: true });
}

/**
 * Starts a process that saves the two caches in turn, and kills it so many milliseconds after its first save has begun.
 * @returns the number of the save that began last, and of the one that came to its end last.
 */
async function killSaver(first: number, delay: number): Promise<{ begun: number; ended: number }> {
  const args = [join(folder, 'js/test/support/saver.js'), folder, path, String(first)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let log = '';
  const closed = new Promise<void>((done) => {
    child.once('close', () => done());
  });
  await new Promise<void>((done) => {
    child.once('close', () => done());
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      done();
    });
  });
  if (log === '') throw new Error('the process that saves did not come to its first save');
  // What was in the file before is the save before the first.
  await sleep(delay);
  child.kill('SIGKILL');
  await closed;
  if (child.signalCode !== 'SIGKILL') throw new Error(`the process that saves ended by itself (${child.exitCode})`);
  // A line may be torn: only whole ones count.
  const lines = log.slice(0, log.lastIndexOf('\n')).split('\n');
  const last = (word: string) => Number(lines.findLast((line) => line.startsWith(word))?.split(' ')[1] ?? first - 1);
  return { begun: last('begin'), ended: last('end') };
}

/** Makes JavaScript of the sources, once: what saves then starts in a fifth of the time. */
async function compile(): Promise<void> {
  const names = (await readdir(join(ROOT, 'src'), { recursive: true })).map((name) => join('src', name));
  for (const name of [...names, 'test/support/saver.ts']) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
    const { outputText } = ts.transpileModule(await readFile(join(ROOT, name), 'utf8'), {
      compilerOptions: {
        module: ts.ModuleKind.ESNext,
        target: ts.ScriptTarget.ES2022,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    });
    const out = join(folder, 'js', name.replace(/\.ts$/, '.js'));
    await mkdir(dirname(out), { recursive: true });
    await writeFile(out, outputText);
  }
  await writeFile(join(folder, 'js/package.json'), '{ "type": "module" }');
  await symlink(join(ROOT, 'node_modules'), join(folder, 'js/node_modules'));
}

/** What a process without the model has to know of it to read and write its caches. */
function shapeOf(model: LanguageModel): string {
  const { shape } = model.createCache();
  const layers = shape.layers.map((layer) => ({ ...layer, rotation: null }));
  return JSON.stringify({ shape: { ...shape, layers }, fingerprint: model.fingerprint });
}
