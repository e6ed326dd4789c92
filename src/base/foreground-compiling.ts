import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 compile on the main thread from now on, which costs a short program nothing that can be measured. When a process
 * exits while another thread compiles and wants memory, that thread waits for a garbage collection that never comes, and
 * Node waits for the thread: the program never ends (nodejs/node issue 54918; one copy of 100 MB in fifty).
 */
export function compileInForeground(): void {
  setFlagsFromString('--no-concurrent-sparkplug');
  setFlagsFromString('--no-concurrent-recompilation');
}
