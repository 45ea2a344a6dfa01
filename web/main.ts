/**
 * @file The page: a model that writes text, and the caches of one or two policies.
 */
import type { LoadProgress, ModelChoice } from '../src/exports/web.ts';
import { CacheControls, choose } from './cache-controls.ts';
import { byId } from './dom.ts';
import type { PageModel } from './engine.ts';
import { keepSettings, keepTurns, readSettings, readTurns, type Turn } from './kept.ts';
import { clearLog, messagesOf, showTurn, textOf } from './log.ts';
import { megabytes, Side } from './side.ts';
import { fail, messageOf, say } from './status.ts';

/** Set by the build: whether the model is behind the server that the page comes from. */
const IS_SERVED = import.meta.env.MODE === 'server';
const SHIPPED = 'models/tiny/';
/** Few, so that tokens are evicted soon. An answer needs more of its conversation. */
const SLOTS = { text: 48, chat: 256 } as const;
/** What an answer says that its page did not live to see the end of. */
const CLOSED = 'not finished: the page was closed';

const prompt = byId<HTMLTextAreaElement>('prompt');
const system = byId<HTMLTextAreaElement>('system');
const [count, temperature] = [byId<HTMLInputElement>('count'), byId<HTMLInputElement>('temperature')];
const [send, stop] = [byId<HTMLButtonElement>('send'), byId<HTMLButtonElement>('stop')];
const first = new CacheControls('', () => restart());
const second = new CacheControls('-1', () => {
  // It begins as the first.
  if (sides.length === 1) second.set(first.kept);
  restart();
});

const settings = readSettings();
let hub = settings?.hub;
let model: PageModel | null = null;
let sides: Side[] = [];
let turns: Turn[] = [];
/** Models whose text was brought back: when they are chosen once more, they begin anew. */
const opened = new Set<string>();
let aborter = new AbortController();
let running: Promise<void> = Promise.resolve();
let [loads, writes] = [0, 0];

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
  if (loads + writes === 0 || aborter.signal.aborted) return;
  aborter.abort();
  stop.textContent = 'Stopping…';
  say('Stopping after the step that has begun…');
}

function showButtons(): void {
  send.disabled = loads + writes > 0 || !model;
  stop.disabled = loads + writes === 0;
  stop.textContent = 'Stop';
}

/** New caches; they read the text again with the next step. */
async function renew(): Promise<void> {
  if (!model) return;
  const { isChat } = model;
  const used = [first, second].filter(({ isUsed }) => isUsed);
  for (const controls of [first, second]) {
    const limits = await model.slotLimits(controls.buffer, used.length);
    controls.limit(isChat ? SLOTS.chat : SLOTS.text, limits);
  }
  const old = sides;
  sides = used.map(({ choice }) => new Side(model!, choice));
  byId('sides').replaceChildren(...sides.map(({ root }) => root));
  await Promise.all(old.map((side) => side.dispose()));
}

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
  const { isChat, name } = model;
  // A text goes on without more of it.
  if (given.trim() === '' && (isChat || turns.length === 0)) return;
  prompt.value = '';
  say('Reading…');
  const before = turns;
  const labels = sides.map(({ policy, title }) => (sides.length > 1 ? title : policy));
  const turn: Turn = { given, answers: labels.map((label) => ({ label, content: '', end: CLOSED })) };
  turns = [...before, turn];
  keepTurns(name, turns);
  const shown = showTurn(turn);
  const tell = (text: string) => signal.aborted || say(text);
  const followOne = async (side: Side, i: number): Promise<void> => {
    const conversation = await side.conversation();
    const started = performance.now();
    let [tokens, firstAt] = [0, started];
    const speed = () => (tokens > 1 ? ((tokens - 1) / (performance.now() - firstAt)) * 1000 : null);
    let reported = started;
    try {
      const options = {
        maxNewTokens: Number(count.value),
        temperature: Number(temperature.value),
        signal,
        onPrefill: (done: number, total: number) => done < total && tell(`Reading: ${done} of ${total} tokens`),
      };
      const input = isChat ? messagesOf(before, i, system.value.trim(), given) : textOf(before, i, given);
      for await (const chunk of conversation.write(input, options)) {
        if (tokens === 0) firstAt = performance.now();
        tokens += chunk.tokens;
        shown.add(i, chunk.text);
        if (performance.now() - reported < 500) continue;
        reported = performance.now();
        tell('Writing…');
        keepTurns(name, turns);
        await side.report(speed());
      }
      turn.answers[i].end = undefined;
    } catch (error) {
      turn.answers[i].end = endOf(error, turn.answers[i].content, signal);
      throw error;
    } finally {
      shown.end(i);
      await side.report(speed());
    }
  };
  const results = await Promise.allSettled(sides.map(followOne));
  keepTurns(name, turns);
  const failed = results.find((result) => result.status === 'rejected');
  // A question that nobody has answered may be changed and sent again.
  if (failed && isChat) askAgain();
  if (failed && !signal.aborted) fail(failed.reason);
  else say(signal.aborted ? 'Stopped.' : ready());
}

/** Puts the last question back where it has no answer. */
function askAgain(): void {
  const last = turns.at(-1);
  if (last && prompt.value === '' && last.answers.every(({ content }) => content === '')) prompt.value = last.given;
}

/** What is written below an answer that was not finished. */
function endOf(reason: unknown, content: string, signal: AbortSignal): string {
  if (signal.aborted) return content === '' ? 'stopped before the first token' : 'stopped';
  return `not finished: ${messageOf(reason)}`;
}

function sayRestarted(): void {
  if (!model) return;
  say(turns.length === 0 ? ready() : `${ready()} · the new cache reads the text with the next token`);
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
  keepChoices();
  showButtons();
}

async function replace(open: OpenModel, signal: AbortSignal): Promise<void> {
  const old = model;
  model = null;
  await Promise.all(sides.map((side) => side.dispose()));
  sides = [];
  await old?.dispose();
  clearLog();
  turns = [];
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
  const { policies, isChat, name } = model;
  byId('model').textContent = model.about;
  byId('chat-title').textContent = isChat ? 'Chat' : 'Text';
  byId('system-row').hidden = !isChat;
  send.textContent = isChat ? 'Send' : 'Continue';
  // The beginning of a text is no question.
  if (isChat && prompt.value === prompt.defaultValue) prompt.value = '';
  for (const [i, { policy }] of [first, second].entries()) {
    const chosen = policy.options.length > 0 ? policy.value : (settings?.caches[i].policy ?? '');
    choose(policy, i === 0 ? policies : ['', ...policies], chosen);
  }
  if (!opened.has(name)) turns = readTurns(name);
  opened.add(name);
  for (const turn of turns) {
    const shown = showTurn(turn);
    for (const i of turn.answers.keys()) shown.end(i);
  }
  if (isChat) askAgain();
  await renew();
  sayRestarted();
}

function forget(): void {
  turns = [];
  if (model) keepTurns(model.name, turns);
  clearLog();
}

/** While no model is there, the last choices are kept. */
function keepChoices(): void {
  if (!model) return;
  keepSettings({
    caches: [first.kept, second.kept],
    count: count.value,
    temperature: temperature.value,
    system: system.value,
    draft: prompt.value,
    device: byId<HTMLSelectElement>('device').value,
    hub,
  });
}

// It scrolls, so the keyboard has to reach it.
byId('log').tabIndex = 0;
if (settings) {
  for (const [i, kept] of settings.caches.entries()) [first, second][i].set(kept);
  [count.value, temperature.value] = [settings.count, settings.temperature];
  [system.value, prompt.value] = [settings.system, settings.draft];
}

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
document.addEventListener('change', keepChoices);
addEventListener('pagehide', () => {
  if (model) keepTurns(model.name, turns);
  keepChoices();
});

if (IS_SERVED) {
  const { openServer } = await import('./served.ts');
  void openServer((open) => load((_, signal) => open(signal))).catch(fail);
} else {
  const { openInPage } = await import('./wasm.ts');
  const { showDevices } = await import('./devices.ts');
  let [source, name]: [ModelChoice, string] = [SHIPPED, 'keyhold/tiny'];
  const device = showDevices(settings?.device, () => void open(source, name));
  const open = (next: ModelChoice, called: string): Promise<void> => {
    [source, name] = [next, called];
    hub = undefined;
    return load(async (onProgress, signal) => {
      const loaded = await openInPage(next, called, device(), onProgress, signal);
      if (typeof next === 'object' && 'hub' in next) hub = next.hub;
      return loaded;
    });
  };
  byId<HTMLInputElement>('files').addEventListener('change', ({ target }) => {
    const files = Array.from((target as HTMLInputElement).files ?? []);
    if (files.length === 0) return;
    // The same files may be chosen again.
    (target as HTMLInputElement).value = '';
    const chosen = files.find((file) => /\.(gguf|safetensors)$/.test(file.name))?.name ?? 'files';
    void open(files, chosen);
  });
  const { showHub, storedChoice } = await import('./hub.ts');
  showHub(
    (choice) => open(choice, choice.hub),
    () => open(SHIPPED, 'keyhold/tiny'),
  );
  const last = hub === undefined ? null : await storedChoice(hub);
  if (last) await open(last, last.hub);
  else await open(SHIPPED, 'keyhold/tiny');
  // It fetches all files once more: now they are in the browser's cache.
  if ('serviceWorker' in navigator && isSecureContext) void navigator.serviceWorker.register('./sw.js').catch(() => {});
}
