/** @file The worker of transformers.js: the benchmark runs its functions here. */
import * as library from '@huggingface/transformers';

globalThis.library = library;
// The loader of TypeScript marks functions with it, those that are sent here among them.
globalThis.__name = (given) => given;
