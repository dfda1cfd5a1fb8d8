// Memory in which a sanitizer, or a fence, sees every byte too many.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

// So many bytes on the heap, the first of them `offset` past a multiple of 64. Without a fence the
// allocation ends where the bytes do, for AddressSanitizer. It does not see the instructions that
// write past the caches, so `fenced` ones lie between bytes that must not change.
class Bytes {
 public:
  Bytes() = default;
  Bytes(size_t size, size_t offset, bool fenced) : size_(size), fence_(fenced ? 64 : 0) {
    void* base = nullptr;
    if (posix_memalign(&base, 64, fence_ + offset + size + fence_)) std::abort();
    base_ = static_cast<unsigned char*>(base);
    front_ = fence_ + offset;
    std::memset(base_, FENCE, front_ + size + fence_);
    std::memset(data(), 0xff, size);  // a NaN in each type: what stays unwritten is found
  }
  Bytes(Bytes&& other) noexcept { swap(other); }
  Bytes& operator=(Bytes&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Bytes() { std::free(base_); }

  unsigned char* data() const { return base_ + front_; }
  size_t size() const { return size_; }

  bool intact() const {
    for (size_t i = 0; i < front_; i++)
      if (base_[i] != FENCE) return false;
    for (size_t i = 0; i < fence_; i++)
      if (data()[size_ + i] != FENCE) return false;
    return true;
  }
  bool untouched() const {
    for (size_t i = 0; i < size_; i++)
      if (data()[i] != 0xff) return false;
    return true;
  }
  friend bool operator==(const Bytes& a, const Bytes& b) {
    return a.size_ == b.size_ && (a.size_ == 0 || !std::memcmp(a.data(), b.data(), a.size_));
  }

 private:
  static constexpr unsigned char FENCE = 0xa5;
  unsigned char* base_ = nullptr;
  size_t front_ = 0, size_ = 0, fence_ = 0;

  void swap(Bytes& other) {
    std::swap(base_, other.base_);
    std::swap(front_, other.front_);
    std::swap(size_, other.size_);
    std::swap(fence_, other.fence_);
  }
};

// ---- elements of type 0, fp32, or 1, bf16, at any address

inline size_t itemsize(int type) { return type ? 2 : 4; }

inline double get(const Bytes& bytes, int64_t i, int type) {
  uint32_t bits = 0;
  const size_t size = itemsize(type);
  std::memcpy(reinterpret_cast<unsigned char*>(&bits) + (4 - size), bytes.data() + i * size, size);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// To the nearest number of the type, ties to even; by way of fp32, as the kernels do.
inline double rounded(double value, int type) {
  const float single = float(value);
  if (!type) return single;
  uint32_t bits;
  std::memcpy(&bits, &single, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}

// `value` must be a number of the type.
inline void put(Bytes& bytes, int64_t i, int type, double value) {
  const float single = float(value);
  const size_t size = itemsize(type);
  std::memcpy(bytes.data() + i * size,
              reinterpret_cast<const unsigned char*>(&single) + (4 - size), size);
}
