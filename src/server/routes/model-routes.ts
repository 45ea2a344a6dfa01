/**
 * @file Routes that tell which models are served.
 */
import { renameModules } from '../../kvcache/policy/policy-names.ts';
import type { CacheClass } from '../cache-classes.ts';
import { findNamed, type ModelEntry, namesOf } from '../model-entry.ts';
import type { QueuedModel, Task } from './queued-model.ts';
import type { Routes } from './routes.ts';

/** A key sees the models that it may use, and one entry for each of their adapters. */
export function addModelRoutes(app: Routes, models: readonly ModelEntry[], tasks: readonly Task[]): void {
  const all = (key: string) => [
    ...[...namesOf(models, key)].map(({ id, entry, adapter }) => ({
      ...listedModel(entry),
      id,
      ...(adapter === null ? {} : { parent: entry.id }),
    })),
    ...tasks.flatMap((task) => task.models.map((served) => listedTask(served, task))),
  ];
  app.get('/v1/models', (c) => c.json({ object: 'list', data: all(c.get('key')) }));
  // Ids may hold slashes.
  app.get('/v1/models/:id{.+}', (c) => c.json(findNamed(all(c.get('key')), c.req.param('id'))));
}

/** What /v1/models says; of a model that is not in memory it knows less. */
const listedModel = ({ id, created, cacheClasses, adapters, loaded }: ModelEntry) => ({
  id,
  object: 'model',
  created,
  owned_by: 'keyhold',
  ...(loaded ? { max_model_len: loaded.contextLength } : {}),
  keyhold: {
    loaded: loaded !== null,
    ...(loaded
      ? {
          family: loaded.model.config.name,
          layers: loaded.model.config.nLayer,
          chat: loaded.model.chatTemplate !== null,
          weights: loaded.model.weights,
        }
      : {}),
    cache_classes: cacheClasses.map(({ name, options: cache }) => ({ name, ...withPolicyName(cache) })),
    adapters,
  },
});

const listedTask = ({ id, created, model: { config } }: QueuedModel, { name }: Task) => ({
  id,
  object: 'model',
  created,
  owned_by: 'keyhold',
  max_model_len: config.contextLength,
  keyhold: { family: config.name, [name]: true },
});

/** Options of caches with the name of their policy: clients see no functions, and no paths of this machine. */
function withPolicyName({ policy, policyModule, ...rest }: CacheClass['options']): object {
  if (policyModule !== undefined)
    return { policy: renameModules(String(policyModule), (path) => path.replace(/^.*[\\/]/, '')), ...rest };
  if (policy === undefined || typeof policy === 'string') return { policy, ...rest };
  return { policy: 'entry' in policy ? policy.entry.name : policy.name, ...rest };
}
