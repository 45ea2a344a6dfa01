/**
 * @file `routed`: slots for the query groups that read the past.
 */
import { routedPolicy } from '../routing/routed.ts';
import { echo } from './echo.ts';
import { h2oEcho } from './h2o-echo.ts';

/** `routed(echo, h2o-echo)`, distributed by a calibration of the model. */
export const routed = routedPolicy(echo, h2oEcho, 'routed');
