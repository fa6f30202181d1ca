/* Memory of other processes: copies into and out of buffers.  Who may, and what a short one means, is said in Python. */
#include "copy.h"
#include "mapping.h"

/* The bytes, shorter than asked where the kernel stopped, and its -errno (0: it did not stop). */
static PyObject *read_process(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    long answer = 0, pid = PyLong_AsLong(args[0]);
    unsigned long address = PyLong_AsUnsignedLong(args[1]);
    Py_ssize_t length = PyLong_AsSsize_t(args[2]);
    PyObject *bytes = PyErr_Occurred() ? NULL : PyBytes_FromStringAndSize(NULL, length);
    if (!bytes)
        return NULL;
    char *memory = PyBytes_AsString(bytes);
    PyThreadState *state = PyEval_SaveThread();
    size_t done = rs_copy_remote(RS_READ_THERE, (int)pid, memory, address, (size_t)length, &answer);
    PyEval_RestoreThread(state);
    if ((Py_ssize_t)done < length) {
        PyObject *part = PyBytes_FromStringAndSize(memory, (Py_ssize_t)done);
        Py_DECREF(bytes);
        bytes = part;
    }
    return bytes ? Py_BuildValue("(Nl)", bytes, answer) : NULL;
}

/* (writing, pid, buffer, address): the number of bytes that were copied, and the -errno where the kernel stopped. */
static PyObject *transfer(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module, (void)count;
    int writing = PyObject_IsTrue(args[0]);
    long answer = 0, pid = PyLong_AsLong(args[1]);
    unsigned long address = PyLong_AsUnsignedLong(args[3]);
    Py_buffer view;
    if (PyErr_Occurred() || PyObject_GetBuffer(args[2], &view, writing ? PyBUF_SIMPLE : PyBUF_WRITABLE) < 0)
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    size_t done = rs_copy_remote(writing ? RS_WRITE_THERE : RS_READ_THERE, (int)pid, view.buf, address, (size_t)view.len, &answer);
    PyEval_RestoreThread(state);
    PyBuffer_Release(&view);
    return Py_BuildValue("(nl)", (Py_ssize_t)done, answer);
}

static PyMethodDef functions[] = {
    RS_METHOD("read_process", read_process, "read_process($module, pid, address, n, /)\n--\n\nBytes and the -errno where it stopped."),
    RS_METHOD("transfer", transfer, "transfer($module, writing, pid, buffer, address, /)\n--\n\nCount and the -errno where it stopped."),
    {NULL, NULL, 0, NULL},
};

int rs_remote_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
