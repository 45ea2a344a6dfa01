/**
 * @file The script of a test's page: the library as a page uses it.
 */
import * as keyhold from '../../src/exports/web.ts';

const load = (options: Partial<keyhold.LoadOptions> = {}, model: keyhold.ModelChoice = '/models/tiny/') =>
  keyhold.loadModel(model, {
    runtimeFiles: '/ort/',
    worker: () => new Worker('/thread.js', { type: 'module' }),
    ...options,
  });

declare global {
  var page: {
    readonly keyhold: typeof keyhold;
    readonly load: typeof load;
  };
}
globalThis.page = { keyhold, load };
