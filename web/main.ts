/**
 * @file The page: a model that writes text, and the caches of one or two policies.
 */
import { type ChatMessage, loadModel, type ModelFiles, type WorkerModel } from '../src/exports/web.ts';
import { threadCount } from '../src/web/load-model.ts';
import { byId, element } from './dom.ts';
import { megabytes, Side, type SideOptions } from './side.ts';

const POLICIES = ['lastrec', 'h2o', 'tova', 'snapkv', 'pyramid', 'expected', 'knorm', 'keydiff', 'leverage', 'dense'];
const BUFFERS = ['float32', 'float16', 'int8', 'int4'] as const;
const SHIPPED = 'models/tiny/';

const [policyA, policyB] = [byId<HTMLSelectElement>('policy-0'), byId<HTMLSelectElement>('policy-1')];
const buffer = byId<HTMLSelectElement>('buffer');
const budget = byId<HTMLInputElement>('budget');
const prompt = byId<HTMLTextAreaElement>('prompt');
const [send, stop] = [byId<HTMLButtonElement>('send'), byId<HTMLButtonElement>('stop')];

let model: WorkerModel | null = null;
let sides: Side[] = [];
/** The text so far, for each side; of a model for conversations, messages. */
let texts: string[] = [];
let messages: ChatMessage[][] = [];
let aborter: AbortController | null = null;
let running: Promise<void> = Promise.resolve();

function say(text: string, isError = false): void {
  const status = byId('status');
  status.textContent = text;
  status.classList.toggle('error', isError);
}

const fail = (error: unknown) => say(error instanceof Error ? error.message : String(error), true);

/** Bytes of one slot in all layers and groups, as the cache counts them. */
let slotBytes = 0;

function showBudget(): void {
  const slots = Number(budget.value);
  byId('budget-text').textContent = `${slots} slots${slotBytes > 0 ? ` = ${megabytes(slots * slotBytes)}` : ''}`;
}

function choose(select: HTMLSelectElement, values: readonly string[], chosen: string): void {
  select.replaceChildren(...values.map((value) => element('option', { value }, [value === '' ? 'nothing' : value])));
  select.value = chosen;
}

/** New caches; they read the text again with the next step. */
async function restart(): Promise<void> {
  aborter?.abort();
  await running;
  if (!model) return;
  const policies = [policyA.value, policyB.value].filter((policy) => policy !== '');
  const old = sides;
  sides = policies.map((policy) => new Side(model!, optionsOf(policy)));
  while (texts.length < sides.length) texts.push(texts[0] ?? '');
  while (messages.length < sides.length) messages.push([...(messages[0] ?? [])]);
  texts.length = messages.length = sides.length;
  byId('sides').replaceChildren(...sides.map(({ root }) => root));
  await Promise.all(old.map((side) => side.dispose()));
  const limit = (cacheLength: number) =>
    model!.createCache({ ...optionsOf('lastrec'), cacheLength }).then(async (cache) => {
      const bytes = (await cache.memory()).keysAndValuesLimit;
      await cache.dispose();
      return bytes;
    });
  slotBytes = (await limit(64)) / 64;
  showBudget();
}

const optionsOf = (policy: string): SideOptions => ({
  policy,
  cacheLength: Number(budget.value),
  buffer: buffer.value as (typeof BUFFERS)[number],
});

/** Continues the text, or answers it, under every policy at the same time. */
async function run(): Promise<void> {
  const given = prompt.value;
  if (!model || given.trim() === '') return;
  const isChat = model.chatTemplate !== null;
  aborter = new AbortController();
  const { signal } = aborter;
  send.disabled = true;
  stop.disabled = false;
  prompt.value = '';
  say('Reading…');
  const outputs = sides.map(({ policy }) => element('span', { 'data-policy': policy }));
  const answers = sides.map(({ policy }, i) => element('div', {}, [element('b', {}, [policy]), outputs[i]]));
  const log = byId('log');
  log.append(
    element('div', { class: 'turn' }, [element('b', {}, ['you']), given]),
    element('div', { class: 'turn answers' }, answers),
  );
  const followOne = async (side: Side, i: number): Promise<void> => {
    const cache = await side.cache();
    texts[i] += given;
    messages[i].push({ role: 'user', content: given });
    const started = performance.now();
    let [count, first] = [0, started];
    const speed = () => (count > 1 ? ((count - 1) / (performance.now() - first)) * 1000 : null);
    let reported = started;
    try {
      const maxNewTokens = Number(byId<HTMLInputElement>('count').value);
      const temperature = Number(byId<HTMLInputElement>('temperature').value);
      const options = { cache, reusePrefix: true, maxNewTokens, temperature, seed: 1, signal };
      for await (const chunk of model!.generate(isChat ? messages[i] : texts[i], options)) {
        if (count === 0) first = performance.now();
        count += chunk.tokens.length;
        outputs[i].append(chunk.text);
        log.scrollTop = log.scrollHeight;
        if (performance.now() - reported < 500) continue;
        reported = performance.now();
        say('Writing…');
        await side.report(speed());
      }
    } finally {
      texts[i] += outputs[i].textContent;
      messages[i].push({ role: 'assistant', content: outputs[i].textContent ?? '' });
      await side.report(speed());
    }
  };
  const results = await Promise.allSettled(sides.map(followOne));
  stop.disabled = true;
  send.disabled = false;
  const failed = results.find((result) => result.status === 'rejected');
  if (failed && !signal.aborted) fail(failed.reason);
  else say(signal.aborted ? 'Stopped.' : ready());
}

function ready(): string {
  const threads = threadCount();
  const why = crossOriginIsolated ? '' : ' (the page is not isolated)';
  return `Ready · WebAssembly, ${threads} thread${threads > 1 ? 's' : ''}${why}`;
}

async function load(source: string | ModelFiles, name: string): Promise<void> {
  aborter?.abort();
  await running;
  send.disabled = true;
  const progress = byId<HTMLProgressElement>('progress');
  progress.hidden = false;
  try {
    const old = model;
    model = null;
    await Promise.all(sides.map((side) => side.dispose()));
    sides = [];
    await old?.dispose();
    const started = performance.now();
    model = await loadModel(source, {
      runtimeFiles: new URL('ort/', document.baseURI),
      worker: () => new Worker(new URL('../src/web/thread.ts', import.meta.url), { type: 'module' }),
      onProgress: (p) => {
        progress.value = p.total > 0 ? p.bytes / p.total : 0;
        const rate = p.bytes / ((performance.now() - started) / 1000);
        const what = p.stage === 'download' ? `Loading ${p.file}` : 'Preparing the weights';
        say(`${what}: ${megabytes(p.bytes)} of ${megabytes(p.total)}, ${megabytes(rate)}/s`);
      },
    });
    const { config } = model;
    byId('model').textContent = `${name} · ${config.nLayer} layers, context ${config.contextLength}`;
    byId('chat-title').textContent = model.chatTemplate ? 'Chat' : 'Text';
    send.textContent = model.chatTemplate ? 'Send' : 'Continue';
    forget();
    await restart();
    send.disabled = false;
    say(ready());
  } catch (error) {
    fail(error);
  } finally {
    progress.hidden = true;
  }
}

function forget(): void {
  texts = [];
  messages = [];
  byId('log').replaceChildren();
}

// It scrolls, so the keyboard has to reach it.
byId('log').tabIndex = 0;
choose(policyA, POLICIES, 'h2o');
choose(policyB, ['', ...POLICIES], '');
choose(buffer, BUFFERS, 'float32');
showBudget();

byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!send.disabled) running = run().catch(fail);
});
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId<HTMLFormElement>('form').requestSubmit();
});
stop.addEventListener('click', () => aborter?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') aborter?.abort();
});
byId('clear').addEventListener('click', () => {
  void restart().then(forget).then(restart).catch(fail);
});
budget.addEventListener('input', showBudget);
for (const control of [policyA, policyB, buffer, budget])
  control.addEventListener('change', () => void restart().catch(fail));
byId<HTMLInputElement>('files').addEventListener('change', ({ target }) => {
  const files = Array.from((target as HTMLInputElement).files ?? []);
  if (files.length > 0) void load(files, files.find(({ name }) => /\.(gguf|safetensors)$/.test(name))?.name ?? 'files');
});

void load(SHIPPED, 'keyhold/tiny');
if ('serviceWorker' in navigator && isSecureContext) void navigator.serviceWorker.register('./sw.js').catch(() => {});
