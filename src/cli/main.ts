#!/usr/bin/env node
/**
 * @file Starts the command. Nothing else of it is loaded before Node knows where compiled code is kept.
 */
import { keepCompiledCode } from './compiled-code.ts';

keepCompiledCode();
await import('./process.ts');
