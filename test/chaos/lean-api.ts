/** An API that is not there. */
export const startApi = async (): Promise<string> => 'nowhere';
