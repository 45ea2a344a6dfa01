/**
 * @file Which models `keyhold serve` has: one of the command line, or those of --models.
 */
import { dirname, resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { WEIGHT_CHOICES } from '../../exports/checkpoint.ts';
import { type AnyCacheOptions, checkCacheOptions, readCacheBytes } from '../../exports/policies.ts';
import { renameModules } from '../../kvcache/policy/policy-names.ts';
import { DEVICES, ENGINES } from '../../load/engines-node.ts';
import type { CacheClass } from '../../server/cache-classes.ts';
import { issueText } from '../../util/json/issue.ts';
import { UsageError } from '../failure.ts';
import { asUsage, findPolicy, optionsForWorker } from '../input/options.ts';
import { readGivenJson } from '../input/text-file.ts';

/** A model of --models: a path, or the name of a file with several. */
export type ModelsFlag = { readonly file: string } | { readonly name: string; readonly path: string };

/** A reader of `FILE` and `NAME=PATH`, which may be given several times. */
export function readModels(text: string, before: readonly ModelsFlag[] = []): ModelsFlag[] {
  const [, name, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name === undefined && !text.endsWith('.json'))
    throw new InvalidArgumentError('It must be a .json file, or a name and a model, such as small=Qwen/Qwen3-0.6B.');
  return [...before, name === undefined ? { file: text } : { name, path }];
}

const Count = v.pipe(v.number(), v.integer(), v.minValue(1));
const Cache = v.record(v.string(), v.unknown());
const Size = v.pipe(
  v.string(),
  v.check((text) => isSize(text), 'must be a size, such as 4GB, or a part, such as 10%'),
);
const Model = v.strictObject({
  path: v.pipe(v.string(), v.minLength(1)),
  /** @default 'start' */
  load: v.optional(v.picklist(['start', 'first-use'])),
  idleMinutes: v.optional(v.pipe(v.number(), v.minValue(0))),
  /** The model embeds texts. */
  embeddings: v.optional(v.boolean()),
  /** The model ranks texts. */
  rerank: v.optional(v.boolean()),
  revision: v.optional(v.string()),
  weights: v.optional(v.picklist(WEIGHT_CHOICES)),
  engine: v.optional(v.picklist(ENGINES)),
  device: v.optional(v.picklist(DEVICES)),
  threads: v.optional(Count),
  cache: v.optional(Cache),
  cacheClasses: v.optional(v.record(v.string(), Cache)),
  cacheMemory: v.optional(Size),
  adapters: v.optional(
    v.array(
      v.strictObject({
        path: v.pipe(v.string(), v.minLength(1)),
        name: v.pipe(v.string(), v.regex(/^[\w.-]+$/, 'must be of the characters A-Z a-z 0-9 . _ -')),
        weight: v.optional(v.number()),
      }),
    ),
  ),
  /** Adapters stay beside the weights. @default true */
  liveAdapters: v.optional(v.boolean()),
  apiKeys: v.optional(v.array(v.pipe(v.string(), v.minLength(1)))),
  parallel: v.optional(Count),
  maxTokens: v.optional(Count),
  sessions: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
const File = v.strictObject({ models: v.record(v.pipe(v.string(), v.minLength(1)), Model) });

/** What a file says of a model. */
export type ModelSettings = v.InferOutput<typeof Model>;

/** A model of the server, and what was said of it alone. */
export interface NamedSettings extends ModelSettings {
  readonly name: string;
}

/**
 * The models of --models. Paths of a file that begin with a dot are relative to it. A key `env:NAME` is read from the
 * environment.
 * @throws UsageError for a file that can't be read or says what can't be meant, and for two models of one name.
 */
export async function modelSettings(
  flags: readonly ModelsFlag[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<NamedSettings[]> {
  const all: NamedSettings[] = [];
  for (const flag of flags) {
    if ('name' in flag) all.push(flag);
    else all.push(...(await readModelsFile(flag.file, env)));
  }
  for (const [i, { name }] of all.entries())
    if (all.findIndex((each) => each.name === name) < i) throw new UsageError(`two models have the name "${name}"`);
  return all;
}

async function readModelsFile(
  path: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<NamedSettings[]> {
  const parsed = v.safeParse(File, await readGivenJson(path));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    throw new UsageError(`${path}: ${issueText(v.getDotPath(issue) ?? 'the file', issue)}`);
  }
  const near = (name: string) => (/^\.\.?[/\\]/.test(name) ? resolve(dirname(path), name) : name);
  const all: NamedSettings[] = [];
  for (const [name, model] of Object.entries(parsed.output.models)) {
    if (model.embeddings && model.rerank)
      throw new UsageError(`${path}: models.${name}: a model embeds or ranks; for both, give it two names`);
    all.push({
      ...model,
      ...(await readCaches(model, `${path}: models.${name}`, near)),
      name,
      path: near(model.path),
      adapters: model.adapters?.map((each) => ({ ...each, path: near(each.path) })),
      apiKeys: model.apiKeys?.map((key) => keyOf(key, env, `${path}: models.${name}.apiKeys`)),
    });
  }
  return all;
}

function keyOf(key: string, env: Readonly<Record<string, string | undefined>>, where: string): string {
  const [, variable] = /^env:(.+)$/.exec(key) ?? [];
  if (variable === undefined) return key;
  const value = env[variable];
  if (!value) throw new UsageError(`${where}: the environment has no ${variable}`);
  return value;
}

/** The caches of a model, where modules of policies are found by this process. */
async function readCaches(
  { cache, cacheClasses = {} }: ModelSettings,
  where: string,
  near: (path: string) => string,
): Promise<Pick<ModelSettings, 'cache' | 'cacheClasses'>> {
  const read: Record<string, Record<string, unknown>> = {};
  for (const [name, options] of Object.entries({ default: cache ?? {}, ...cacheClasses })) {
    const what = `${where}: the cache class ${name}: `;
    const { cacheLength = 1, policy } = options;
    if (!Number.isSafeInteger(cacheLength) || (cacheLength as number) < 1)
      throw new UsageError(`${what}cacheLength must be a whole number of at least 1`);
    const named = typeof policy === 'string' ? { ...options, policy: renameModules(policy, near) } : options;
    read[name] = await classOptions(named, what);
  }
  if ('default' in cacheClasses) throw new UsageError(`${where}: the class "default" is what "cache" says`);
  const { default: own, ...classes } = read;
  return { ...(cache && { cache: own }), ...(Object.keys(classes).length > 0 && { cacheClasses: classes }) };
}

/**
 * Options of a cache class as a model in a worker takes them.
 * @param where begins the message of an error.
 * @throws UsageError for options that the policy does not take, and modules that can't be loaded.
 */
export async function classOptions<T extends Partial<AnyCacheOptions>>(options: T, where = ''): Promise<T> {
  const { policy } = options;
  if (typeof policy !== 'string') {
    asUsage(() => checkCacheOptions(options), where);
    return options;
  }
  const found = { ...options, policy: await findPolicy(policy) };
  asUsage(() => checkCacheOptions(found), where);
  return optionsForWorker(found, policy) as T;
}

/** The classes of a model: its own, or else those of the command line. */
export function cacheClassesOf(
  { cache, cacheClasses }: ModelSettings,
  [first, ...others]: readonly CacheClass[],
): CacheClass[] {
  const own = Object.entries(cacheClasses ?? {}).map(([name, options]) => ({ name, options }));
  return [cache ? { name: 'default', options: cache } : first, ...(cacheClasses ? own : others)] as CacheClass[];
}

function isSize(text: string): boolean {
  try {
    readCacheBytes(text);
    return true;
  } catch {
    return false;
  }
}
