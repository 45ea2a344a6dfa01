/**
 * @file The models of `keyhold serve`: how each is loaded, and the limits and caches that it has.
 */
import { readCacheBytes } from '../../exports/policies.ts';
import type { CacheClass } from '../../server/cache-classes.ts';
import type { OnDemandModel } from '../../server/model-entry.ts';
import type { Log } from '../../server/routes/answer-route.ts';
import type { SessionStore } from '../../server/sessions/sessions.ts';
import { usableMemory } from '../../util/machine-node.ts';
import type { LoadFlags } from '../input/options.ts';
import type { CliIo } from '../io.ts';
import { Progress } from '../output/progress.ts';
import { loadEncoderForCommand, loadInWorkerForCommand, loadRerankerForCommand } from './load.ts';
import { cacheClassesOf, type NamedSettings } from './served-models.ts';

/** What the command line says of each model whose own settings do not. */
export interface ServerFlags extends LoadFlags {
  readonly parallel: number;
  readonly queue: number;
  readonly maxTokens: number;
  readonly sessions: number;
  readonly cacheMemory: string;
}

/** What the models of a server have in common. */
export interface CommonSettings {
  readonly flags: ServerFlags;
  readonly io: CliIo;
  readonly cacheClasses: readonly CacheClass[];
  /** How many models share the memory of the caches equally. */
  readonly sharing: number;
  readonly store: SessionStore | null;
  readonly log: Log;
}

/** Most milliseconds that a request waits for a row. */
const QUEUE_MS = 60_000;

/** A model that generates text, in a worker. It is not loaded yet. */
export async function onDemandModel(settings: NamedSettings, common: CommonSettings): Promise<OnDemandModel> {
  const { OnDemandModel, ServedModel, keyName } = await import('../../exports/server.ts');
  const { flags, io, store, log } = common;
  const { name, adapters, apiKeys, idleMinutes } = settings;
  const cacheClasses = cacheClassesOf(settings, common.cacheClasses);
  const keys = apiKeys && new Set(apiKeys.map(keyName));
  const load = () => loadInWorkerForCommand(loadFlags(settings, flags), io, new Progress(io));
  return new OnDemandModel({
    id: name,
    cacheClasses,
    adapters: settings.liveAdapters === false ? [] : adapters?.map((each) => each.name),
    idleMs: idleMinutes === undefined ? undefined : idleMinutes * 60_000,
    allows: keys && ((key) => keys.has(key)),
    onFailure: (id, error) => log({ level: 'error', model: id, error: String((error as Error)?.stack ?? error) }),
    load: async () =>
      new ServedModel(await load(), {
        ...limitsOf(name, flags),
        cacheClasses,
        rows: settings.parallel ?? flags.parallel,
        maxTokens: settings.maxTokens ?? flags.maxTokens,
        sessions: settings.sessions ?? flags.sessions,
        cacheBytes: cacheBytes(settings, common),
        store,
        onLoss: (session, error) =>
          log({ level: 'warn', session: session.slice(0, 12), error: (error as Error).message }),
        reload: load,
      }),
  });
}

/** A model that embeds texts, loaded; `model` is to be disposed of. */
export async function openEncoder(settings: NamedSettings, { flags, io }: CommonSettings) {
  const { ServedEncoder } = await import('../../exports/server.ts');
  const model = await loadEncoderForCommand(taskFlags(settings, flags), io, new Progress(io));
  return { model, served: new ServedEncoder(model, limitsOf(settings.name, flags)) };
}

/** A model that ranks texts, loaded; `model` is to be disposed of. */
export async function openReranker(settings: NamedSettings, { flags, io }: CommonSettings) {
  const { ServedReranker } = await import('../../exports/server.ts');
  const model = await loadRerankerForCommand(taskFlags(settings, flags), io, new Progress(io));
  return { model, served: new ServedReranker(model, limitsOf(settings.name, flags)) };
}

/** Adapters of the command line belong to the model that writes text. */
const taskFlags = (settings: NamedSettings, flags: ServerFlags): LoadFlags => ({
  ...loadFlags(settings, flags),
  adapter: undefined,
});

const limitsOf = (id: string, { queue }: ServerFlags) => ({ id, queue, queueMs: QUEUE_MS });

/** The flags that load a model: its own settings, or else those of the command line. */
function loadFlags(settings: NamedSettings, flags: ServerFlags): LoadFlags {
  const { adapters } = settings;
  return {
    ...flags,
    model: settings.path,
    weights: settings.weights ?? flags.weights,
    engine: settings.engine ?? flags.engine,
    device: settings.device ?? flags.device,
    threads: settings.threads ?? flags.threads,
    revision: settings.revision ?? flags.revision,
    adapter: adapters?.map(({ weight = 1, ...each }) => ({ ...each, weight })) ?? flags.adapter,
    liveAdapters: adapters ? (settings.liveAdapters ?? true) : flags.liveAdapters,
  };
}

function cacheBytes({ cacheMemory }: NamedSettings, { flags, sharing }: CommonSettings): number {
  return cacheMemory === undefined ? Math.floor(bytesOf(flags.cacheMemory) / sharing) : bytesOf(cacheMemory);
}

/** @param size of memory, or a part of what is available. */
function bytesOf(size: string): number {
  const budget = readCacheBytes(size);
  return 'bytes' in budget ? budget.bytes : Math.floor(budget.part * usableMemory());
}
