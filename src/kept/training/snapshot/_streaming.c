/* Copies memory without going through the caches.

   An ordinary copy first reads the memory that it will write, and replaces the content of the
   caches. Non-temporal stores do neither. They take about 0.6 times as long if source and target
   are larger than the caches. C libraries use them too, but for very large copies only (glibc 2.36
   on a machine that reports 256 MB of cache: from 192 MB). Few tensors have that size. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__ /* part of every x86-64 */
#include <emmintrin.h>

enum { LINE = 64, AHEAD = 1024 }; /* bytes */

static void
stream(char *target, const char *source, size_t size)
{
    size_t head = (size_t)(-(uintptr_t)target) % LINE;
    if (head > size)
        head = size;
    memcpy(target, source, head);
    target += head, source += head, size -= head;
    for (; size >= LINE; target += LINE, source += LINE, size -= LINE) {
        /* A prefetch beyond the end of the source has no effect, and never faults. */
        _mm_prefetch(source + AHEAD, _MM_HINT_NTA);
        const __m128i *from = (const __m128i *)source;
        __m128i *to = (__m128i *)target;
        __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
        __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
        _mm_stream_si128(to, a);
        _mm_stream_si128(to + 1, b);
        _mm_stream_si128(to + 2, c);
        _mm_stream_si128(to + 3, d);
    }
    _mm_sfence(); /* a thread that sees the end of the copy sees all of its bytes */
    memcpy(target, source, size);
}
#else
#define stream memcpy
#endif

static PyObject *
copy(PyObject *module, PyObject *arguments)
{
    Py_buffer target, source;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "w*y*:copy", &target, &source))
        return NULL;
    int fits = target.len == source.len;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        stream(target.buf, source.buf, (size_t)source.len);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_Format(PyExc_ValueError, "Target and source need the same size. Received: %zd and %zd bytes",
                     target.len, source.len);
    }
    PyBuffer_Release(&source);
    PyBuffer_Release(&target);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"copy", copy, METH_VARARGS, "copy(target, source): copy bytes; the two must not overlap."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_streaming", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__streaming(void)
{
    return PyModuleDef_Init(&definition);
}
