/**
 * @file The API reference: `npm run docs:api` writes it to dist-docs/.
 */
import { OptionDefaults } from 'typedoc';

/** @type {Partial<import('typedoc').TypeDocOptions>} */
export default {
  name: 'Keyhold',
  entryPoints: [
    'node',
    'exports/policies',
    'exports/adapters-node',
    'exports/checkpoint-node',
    'exports/eval-node',
    'exports/server',
    'exports/ai-sdk',
    'exports/web',
    'web/thread',
  ].map((name) => `src/${name}.ts`),
  tsconfig: 'tsconfig.build.json',
  out: 'dist-docs',
  readme: 'none',
  blockTags: [...OptionDefaults.blockTags, '@file'],
  excludeTags: ['@file'],
  excludeInternal: true,
  excludePrivate: true,
  disableSources: true,
  treatWarningsAsErrors: true,
  // Types that only internal signatures name are left out on purpose.
  validation: { notExported: false, invalidLink: true },
};
