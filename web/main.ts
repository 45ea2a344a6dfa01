/**
 * @file The page: a model that writes text, and the caches of one or two policies.
 */
import type { LoadProgress, ModelChoice } from '../src/exports/web.ts';
import { chosenSlots, limitBudget, showBudget } from './budget.ts';
import { byId, element } from './dom.ts';
import type { CacheChoice, Message, PageModel } from './engine.ts';
import { megabytes, Side } from './side.ts';
import { fail, messageOf, say } from './status.ts';

/** Set by the build: whether the model is behind the server that the page comes from. */
const IS_SERVED = import.meta.env.MODE === 'server';
const BUFFERS = ['float32', 'float16', 'int8', 'int4'] as const;
const SHIPPED = 'models/tiny/';

const [policyA, policyB] = [byId<HTMLSelectElement>('policy-0'), byId<HTMLSelectElement>('policy-1')];
const buffer = byId<HTMLSelectElement>('buffer');
const budget = byId<HTMLInputElement>('budget');
const prompt = byId<HTMLTextAreaElement>('prompt');
const [send, stop] = [byId<HTMLButtonElement>('send'), byId<HTMLButtonElement>('stop')];

let model: PageModel | null = null;
let sides: Side[] = [];
/** The text so far, for each side; of a model for conversations, messages. */
let texts: string[] = [];
let messages: Message[][] = [];
let aborter = new AbortController();
let running: Promise<void> = Promise.resolve();
let [loads, writes] = [0, 0];

function choose(select: HTMLSelectElement, values: readonly string[], chosen: string): void {
  select.replaceChildren(...values.map((value) => element('option', { value }, [value === '' ? 'nothing' : value])));
  select.value = chosen;
}

/** What is going on is stopped; then this is done. */
function instead(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  aborter.abort();
  aborter = new AbortController();
  const { signal } = aborter;
  running = running.then(() => work(signal)).catch(fail);
  return running;
}

/** Stops what is going on. A step that has begun is finished first. */
function halt(): void {
  if (loads + writes === 0) return;
  aborter.abort();
  say('Stopping…');
}

function showButtons(): void {
  send.disabled = loads + writes > 0 || !model;
  stop.disabled = loads + writes === 0;
}

/** New caches; they read the text again with the next step. */
async function renew(): Promise<void> {
  if (!model) return;
  const policies = [policyA.value, policyB.value].filter((policy) => policy !== '');
  const limits = await model.slotLimits(buffer.value, policies.length);
  if (limits) limitBudget(limits);
  const old = sides;
  sides = policies.map((policy) => new Side(model!, choiceOf(policy)));
  while (texts.length < sides.length) texts.push(texts[0] ?? '');
  while (messages.length < sides.length) messages.push([...(messages[0] ?? [])]);
  texts.length = messages.length = sides.length;
  byId('sides').replaceChildren(...sides.map(({ root }) => root));
  await Promise.all(old.map((side) => side.dispose()));
}

const choiceOf = (policy: string): CacheChoice => ({
  policy,
  cacheLength: chosenSlots(),
  buffer: buffer.value,
});

/**
 * Begins anew with caches as they are chosen. A model that is being loaded gets them anyway.
 * @param before is done first.
 */
function restart(before = () => {}): void {
  if (loads > 0) return;
  void instead(async () => {
    before();
    await renew();
    sayRestarted();
  });
}

async function write(): Promise<void> {
  writes++;
  showButtons();
  await instead(run);
  writes--;
  showButtons();
}

/** Continues the text, or answers it, under every policy at the same time. */
async function run(signal: AbortSignal): Promise<void> {
  const given = prompt.value;
  if (!model) return;
  const { isChat } = model;
  // A text goes on without more of it.
  if (given.trim() === '' && (isChat || texts[0] === '')) return;
  prompt.value = '';
  say('Reading…');
  const outputs = sides.map(({ policy }) => element('span', { 'data-policy': policy, dir: 'auto' }));
  const answers = sides.map(({ policy }, i) => element('div', {}, [element('b', {}, [policy]), outputs[i]]));
  const log = byId('log');
  const yours = element('span', { dir: 'auto' }, [given]);
  const tell = (text: string) => signal.aborted || say(text);
  if (given !== '') log.append(element('div', { class: 'turn' }, [element('b', {}, ['you']), yours]));
  log.append(element('div', { class: 'turn answers' }, answers));
  log.scrollTop = log.scrollHeight;
  const followOne = async (side: Side, i: number): Promise<void> => {
    const conversation = await side.conversation();
    texts[i] += given;
    messages[i].push({ role: 'user', content: given });
    const started = performance.now();
    let [count, first] = [0, started];
    const speed = () => (count > 1 ? ((count - 1) / (performance.now() - first)) * 1000 : null);
    let reported = started;
    try {
      const maxNewTokens = Number(byId<HTMLInputElement>('count').value);
      const temperature = Number(byId<HTMLInputElement>('temperature').value);
      const onPrefill = (done: number, total: number) => done < total && tell(`Reading: ${done} of ${total} tokens`);
      const options = { maxNewTokens, temperature, signal, onPrefill };
      for await (const chunk of conversation.write(isChat ? messages[i] : texts[i], options)) {
        if (count === 0) first = performance.now();
        count += chunk.tokens;
        // Who has scrolled up reads there.
        const follows = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
        outputs[i].append(chunk.text);
        if (follows) log.scrollTop = log.scrollHeight;
        if (performance.now() - reported < 500) continue;
        reported = performance.now();
        tell('Writing…');
        await side.report(speed());
      }
    } finally {
      const content = outputs[i].textContent ?? '';
      texts[i] += content;
      // Many templates refuse a question without an answer, and an empty one misleads the model.
      if (content === '') messages[i].pop();
      else messages[i].push({ role: 'assistant', content });
      await side.report(speed());
    }
  };
  const results = await Promise.allSettled(sides.map(followOne));
  const failed = results.find((result) => result.status === 'rejected');
  for (const [i, result] of results.entries())
    if (result.status === 'rejected') answers[i].append(element('i', {}, [endOf(result.reason, outputs[i], signal)]));
  // A question that nobody has answered may be changed and sent again.
  if (failed && isChat && prompt.value === '' && outputs.every((output) => output.textContent === ''))
    prompt.value = given;
  if (failed && !signal.aborted) fail(failed.reason);
  else say(signal.aborted ? 'Stopped.' : ready());
}

/** What is written below an answer that was not finished. */
function endOf(reason: unknown, output: HTMLElement, signal: AbortSignal): string {
  if (signal.aborted) return output.textContent === '' ? 'stopped before the first token' : 'stopped';
  return `not finished: ${messageOf(reason)}`;
}

function sayRestarted(): void {
  const isEmpty = texts.every((text) => text === '');
  if (model) say(isEmpty ? ready() : `${ready()} · the new cache reads the text with the next token`);
}

const ready = (): string => `Ready · ${model?.place}`;

type OpenModel = (onProgress: (progress: LoadProgress) => void, signal: AbortSignal) => Promise<PageModel>;

/** Replaces the model by another one. */
async function load(open: OpenModel): Promise<void> {
  const progress = byId<HTMLProgressElement>('progress');
  loads++;
  showButtons();
  await instead(async (signal) => {
    progress.value = 0;
    progress.hidden = false;
    say('Loading…');
    await replace(open, signal).catch((error) => (signal.aborted ? say('Loading was stopped.') : fail(error)));
    progress.hidden = true;
  });
  loads--;
  showButtons();
}

async function replace(open: OpenModel, signal: AbortSignal): Promise<void> {
  const old = model;
  model = null;
  await Promise.all(sides.map((side) => side.dispose()));
  sides = [];
  await old?.dispose();
  forget();
  byId('sides').replaceChildren();
  byId('model').textContent = 'no model';
  model = await open((p) => {
    byId<HTMLProgressElement>('progress').value = p.total > 0 ? p.bytes / p.total : 0;
    const isDownload = p.stage === 'download';
    const what = isDownload ? `Loading ${p.file}` : 'Preparing the weights';
    const speed = isDownload && p.rate > 0 ? `, ${megabytes(p.rate)}/s` : '';
    const left = isDownload && p.secondsLeft !== null ? `, ${Math.ceil(p.secondsLeft)} s left` : '';
    say(`${what}: ${megabytes(p.bytes)} of ${megabytes(p.total)}${speed}${left}`);
  }, signal);
  byId('model').textContent = model.about;
  byId('chat-title').textContent = model.isChat ? 'Chat' : 'Text';
  send.textContent = model.isChat ? 'Send' : 'Continue';
  const { policies } = model;
  choose(policyA, policies, policies.includes(policyA.value) ? policyA.value : policies[0]);
  choose(policyB, ['', ...policies], policies.includes(policyB.value) ? policyB.value : '');
  await renew();
  say(ready());
}

function forget(): void {
  texts = [];
  messages = [];
  byId('log').replaceChildren();
}

// It scrolls, so the keyboard has to reach it.
byId('log').tabIndex = 0;
choose(buffer, BUFFERS, 'float32');
showBudget();

byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!send.disabled) void write();
});
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId<HTMLFormElement>('form').requestSubmit();
});
stop.addEventListener('click', () => {
  halt();
  // The button is disabled next, and would take the focus with it.
  prompt.focus();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') halt();
});
byId('clear').addEventListener('click', () => restart(forget));
budget.addEventListener('input', showBudget);
for (const control of [policyA, policyB, buffer, budget]) control.addEventListener('change', () => restart());

if (IS_SERVED) {
  const { openServer } = await import('./served.ts');
  void openServer((open) => load((_, signal) => open(signal))).catch(fail);
} else {
  const { openInPage } = await import('./wasm.ts');
  const { showDevices } = await import('./devices.ts');
  let [source, name]: [ModelChoice, string] = [SHIPPED, 'keyhold/tiny'];
  const device = showDevices(() => void open(source, name));
  const open = (next: ModelChoice, called: string): Promise<void> => {
    [source, name] = [next, called];
    return load((onProgress, signal) => openInPage(next, called, device(), onProgress, signal));
  };
  byId<HTMLInputElement>('files').addEventListener('change', ({ target }) => {
    const files = Array.from((target as HTMLInputElement).files ?? []);
    if (files.length === 0) return;
    // The same files may be chosen again.
    (target as HTMLInputElement).value = '';
    const chosen = files.find((file) => /\.(gguf|safetensors)$/.test(file.name))?.name ?? 'files';
    void open(files, chosen);
  });
  const { showHub } = await import('./hub.ts');
  showHub((hub) => open(hub, hub.hub));
  await open(SHIPPED, 'keyhold/tiny');
  // It fetches all files once more: now they are in the browser's cache.
  if ('serviceWorker' in navigator && isSecureContext) void navigator.serviceWorker.register('./sw.js').catch(() => {});
}
