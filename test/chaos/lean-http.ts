/** An API that answers nothing. */
import { Hono } from 'hono';

export const createHttpApp = (): Hono => new Hono();
