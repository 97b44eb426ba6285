/* The module: what threadwire.transport.poller chooses from, if it has been built. */

#include "arguments.h"
#include "handling.h"
#include "poller.h"
#include "sockets.h"

static int execute(PyObject *module) {
    if (add_poller(module) < 0 || add_handling(module) < 0 ||
        PyModule_AddIntMacro(module, READ) < 0 || PyModule_AddIntMacro(module, WRITE) < 0 ||
        PyModule_AddIntMacro(module, ACCEPT) < 0 || PyModule_AddIntMacro(module, READY) < 0 ||
        PyModule_AddIntMacro(module, END) < 0)
        return -1;
    return 0;
}

static PyMethodDef functions[] = {
    {"accept_now", FAST(accept_now), METH_FASTCALL, "accept_now($module, sock, fd, /)\n--\n\n"},
    {"call_each", FAST(call_each), METH_FASTCALL,
     "call_each($module, function, messages, replies, place, room, tally, /)\n--\n\n"},
    {"hang_up", hang_up, METH_O, "hang_up($module, sock, /)\n--\n\n"},
    {"send_now", FAST(send_now), METH_FASTCALL, "send_now($module, sock, fd, data, /)\n--\n\n"},
    {"timed", FAST(timed), METH_FASTCALL, "timed($module, tally, function, /, *args)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "threadwire.transport._speedups",
    .m_doc = "The batching poller and handlers' calls in C; threadwire.transport.poller chooses.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__speedups(void) {
    return PyModuleDef_Init(&definition);
}
